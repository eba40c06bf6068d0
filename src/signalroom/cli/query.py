"""`signalroom query`: one SELECT on the warehouse."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.handover import stdin
from signalroom.cli.leader import chosen
from signalroom.cli.output import cell, count, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.records.spreadsheet import write_csv

if TYPE_CHECKING:
    import pyarrow as pa

    from signalroom.room import Room
    from signalroom.warehouse.base import Warehouse

_LEADER_S: Final = 60


@command()
@click.argument("sql")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), default=200, show_default=True,
              help="Rows shown of a table; 0 shows all. JSON and CSV always have all.")  # fmt: skip
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet; texts that would run as formulas do not."
)
@click.option("--leader", is_flag=True, help="Ask the replica of the app that is followed, before anything is copied.")
@click.option("--app", metavar="NAME", default="", help="Which app's, with --leader; the only one if left out.")
@json_option
@pass_session
def query(session: Session, sql: str, limit: int, as_csv: bool, leader: bool, app: str, as_json: bool) -> None:
    """Run one SELECT on the warehouse and print its rows; SQL is read from standard input when it is "-".

    With --leader it runs, read-only and for a minute at most, where the app's reporting tables (reporting_page, ...)
    are: on the replica that the workspace names, else in the app's database.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two answers to one question; name one.")
    with session.room() as room:
        text = stdin() if sql == "-" else sql
        found = _asked(room, text, app) if leader else _answer(room.warehouse, text)
        if as_csv:
            written = io.BytesIO()
            write_csv(found, written)
            click.echo(written.getvalue().decode(), nl=False)
            return
        names = found.column_names
        if as_json:
            # By position: two columns may have one name.
            print_json({"columns": names, "rows": [list(row) for row in zip(*_values(found), strict=True)]})
            return
        shown = found.slice(0, limit) if limit else found
        columns = _values(shown)
        right = [at for at, values in enumerate(columns) if _numeric(values)]
        print_table(names, [[cell(value) for value in row] for row in zip(*columns, strict=True)], right)
        if shown.num_rows < found.num_rows:
            click.secho(f"{count(shown.num_rows)} of {count(found.num_rows, 'row')}; --limit 0 shows all.", dim=True)
        else:
            click.secho(count(found.num_rows, "row"), dim=True)


def _asked(room: Room, sql: str, app: str) -> pa.Table:
    """Return what the replica of an app answers, or its database where it has none."""
    from signalroom.engine.following import projection
    from signalroom.warehouse.postgres_reading import answer

    settings = projection(room, chosen(list(room.workspace.projections), app))
    return answer((settings.replica or settings.url).reveal(), sql, schema=settings.schema, timeout_s=_LEADER_S)


def _answer(warehouse: Warehouse, sql: str) -> pa.Table:
    """Return what a snapshot answers: it is rolled back, whatever the statement did."""
    with warehouse.snapshot() as ask:
        return ask(sql)


def _values(table: object) -> list[list[object]]:
    """Return an Arrow table's columns as lists."""
    return [column.to_pylist() for column in getattr(table, "columns", [])]


def _numeric(values: list[object]) -> bool:
    """Tell whether a column is one of numbers, nulls aside."""
    some = [value for value in values if value is not None]
    return bool(some) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in some
    )
