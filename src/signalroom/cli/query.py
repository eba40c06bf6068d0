"""`signalroom query`: one SELECT on the warehouse."""

from __future__ import annotations

import io
from decimal import Decimal

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.handover import stdin
from signalroom.cli.output import cell, count, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.records.spreadsheet import write_csv


@command()
@click.argument("sql")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), default=200, show_default=True,
              help="Rows shown of a table; 0 shows all. JSON and CSV always have all.")  # fmt: skip
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet; texts that would run as formulas do not."
)
@json_option
@pass_session
def query(session: Session, sql: str, limit: int, as_csv: bool, as_json: bool) -> None:
    """Run one SELECT on the warehouse and print its rows; SQL is read from standard input when it is "-"."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two answers to one question; name one.")
    with session.room() as room:
        text = stdin() if sql == "-" else sql
        # A snapshot is rolled back, whatever the statement did.
        with room.warehouse.snapshot() as ask:
            found = ask(text)
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


def _values(table: object) -> list[list[object]]:
    """Return an Arrow table's columns as lists."""
    return [column.to_pylist() for column in getattr(table, "columns", [])]


def _numeric(values: list[object]) -> bool:
    """Tell whether a column is one of numbers, nulls aside."""
    some = [value for value in values if value is not None]
    return bool(some) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in some
    )
