"""`signalroom views import`: the manifests of another database, into the ledger."""

from __future__ import annotations

import click

from signalroom.cli.command import Command, json_option
from signalroom.cli.output import count, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError, DataError


@click.command("import", cls=Command)
@click.option("--from", "source", metavar="env:NAME|FILE", required=True, help="Address of the database that has them.")
@click.option("--schema", metavar="NAME", default="reporting", show_default=True, help="Where its tables are.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and write nothing.")
@json_option
@pass_session
def import_views(session: Session, source: str, schema: str, as_json: bool, *, dry_run: bool) -> None:
    r"""Take the agencies and manifests of another database (its `agency` and `seeder_*` tables) into the ledger.

    Each row that cannot be taken is named with the reason, and the others are taken all the same. Doing it again brings
    what changed there; what is gone from there stays here. Where views/ has a manifest, the file wins.

    \b
    Examples:
      signalroom views import --from env:SEEDER_URL --dry-run
      signalroom views import --from env:SEEDER_URL --schema public
    """
    from signalroom.ledger.manifest_source import read_source
    from signalroom.view import ManifestSet
    from signalroom.views.databases import Numbered
    from signalroom.views.files import read_manifests
    from signalroom.views.imported import sort_out
    from signalroom.workspace.environment import is_reference, look_up

    if "://" in source:
        raise ConfigError(
            "--from takes a reference, not an address: an address holds a password.",
            mend="Export the address as SEEDER_URL and write --from env:SEEDER_URL.",
        )
    with session.room() as room:
        root = room.workspace.root
        url = look_up(source, "--from", room.workspace.environ) if is_reference(source) else source
        rows = read_source(url, root, schema)
        given, left = sort_out(rows, room.ledger.manifests.all(), read_manifests(root) or ManifestSet())
        if not dry_run:
            room.ledger.manifests.take(given)
        other = sorted({view.database_id for view in given.views()} - set(Numbered.of(room.workspace).known))
    taken = {name: len(getattr(given, name)) for name in ("agencies", "canned", "assigned", "custom")}
    if as_json:
        wrong = [{"table": one.table, "id": one.id, "reason": one.reason} for one in left]
        print_json({"dry_run": dry_run, "taken": taken, "left": wrong, "unknown_databases": other})
    else:
        if left:
            print_table(("table", "id", "why it is not taken"), [(one.table, str(one.id), one.reason) for one in left])
        told = ", ".join(f"{count(number)} {name}" for name, number in taken.items())
        click.echo(f"{'Would take' if dry_run else 'Took'} {told}.")
        if other:
            click.echo(f"[views.databases] does not name {', '.join(map(str, other))}: their views will be refused.")
    if left:
        raise DataError(
            f"{count(len(left), 'row')} cannot be taken.",
            mend="Mend them there and import again; that leaves the others alone.",
        )
