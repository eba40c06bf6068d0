"""`signalroom status`: how fresh each stream is, and each report's last delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import ago, count, note, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import SignalRoomError

if TYPE_CHECKING:
    from signalroom.position import Json
    from signalroom.room import Room
    from signalroom.stream import Stream


@command()
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show each stream's newest load, rows, freshness, pending loads and rejects, and each report's last delivery."""
    with session.room() as room:
        streams, problems = _streams(room)
        records = _stream_records(room, streams)
        reports = _report_records(room)
        problems += _in_doubt(room)
        if as_json:
            print_json({"streams": records, "reports": reports, "problems": problems})
            return
        _print_streams(room, records)
        _print_reports(room, reports)
        for problem in problems:
            note(problem)


def _streams(room: Room) -> tuple[list[Stream], list[str]]:
    """Return every stream of the workspace, and a sentence for each source that cannot be opened."""
    streams: list[Stream] = []
    problems: list[str] = []
    for name in room.workspace.sources:
        try:
            streams += room.streams(name)
        except SignalRoomError as problem:
            problems.append(f"The streams of {name} are not shown: {problem}")
    return streams, problems


def _in_doubt(room: Room) -> list[str]:
    """Return a sentence about the deliveries that a person may have to settle."""
    found = room.ledger.deliveries.list(state="unknown", limit=1000)
    if not found:
        return []
    what = "1 delivery" if len(found) == 1 else f"{len(found)} deliveries"
    return [f"{what} may or may not have arrived: `signalroom deliveries --state unknown` lists them."]


def _stream_records(room: Room, streams: list[Stream]) -> list[Mapping[str, Json]]:
    from signalroom.warehouse.overview import reject_counts, rows_of, stream_loads

    loads = stream_loads(room.warehouse)
    rows = rows_of(room.warehouse, [(one.source, table.name) for one in streams for table in one.tables])
    rejects: dict[str, int] = {}
    for found in reject_counts(room.warehouse):
        rejects[str(found["stream"])] = rejects.get(str(found["stream"]), 0) + int(str(found["rows"]))
    now = room.clock.now()
    records: list[Mapping[str, Json]] = []
    for one in streams:
        merged = room.warehouse.merged(one.source, one.name)
        known = loads.get(one.title)
        records.append(
            {
                "stream": one.title,
                "newest_load_id": known.newest if known else None,
                "committed_at": known.committed_at.isoformat() if known else None,
                "age_seconds": round((now - known.committed_at).total_seconds()) if known else None,
                "loads": known.loads if known else 0,
                "rows": sum(rows.get((one.source, table.name), 0) for table in one.tables),
                "pending": len(room.lake.pending(one.source, one.name, merged)),
                "rejects": rejects.get(one.title, 0),
            }
        )
    return records


def _report_records(room: Room) -> list[Mapping[str, Json]]:
    records: list[Mapping[str, Json]] = []
    for name in room.reports:
        last = next(iter(room.ledger.deliveries.list(name, limit=1)), None)
        records.append(
            {
                "report": name,
                "due_at": last.due_at.isoformat() if last else None,
                "channel": last.channel if last else None,
                "state": last.state if last else None,
                "error": last.error if last else "",
            }
        )
    return records


def _print_streams(room: Room, records: list[Mapping[str, Json]]) -> None:
    from datetime import datetime

    if not records:
        if not room.workspace.sources:  # else the notes say why none is shown
            click.echo("The workspace has no streams yet: add a [sources.NAME] to signalroom.toml.")
        return
    now = room.clock.now()
    rows = [
        (
            str(one["stream"]),
            ago(datetime.fromisoformat(str(one["committed_at"])), now) if one["committed_at"] else "never",
            *(count(int(str(one[name]))) for name in ("rows", "pending", "rejects")),
            str(one["newest_load_id"] or ""),
        )
        for one in records
    ]
    print_table(("stream", "loaded", "rows", "pending", "rejects", "newest load"), rows, right=(2, 3, 4))


def _print_reports(room: Room, records: list[Mapping[str, Json]]) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if not records:
        return
    click.echo()
    zone = ZoneInfo(room.workspace.timezone)
    rows: list[tuple[str, ...]] = []
    for one in records:
        due = one["due_at"]
        when = f"{datetime.fromisoformat(due).astimezone(zone):%Y-%m-%d %H:%M}" if isinstance(due, str) else "never"
        rows.append((str(one["report"]), when, *(str(one[name] or "") for name in ("channel", "state", "error"))))
    print_table(("report", "last due", "channel", "state", ""), rows)
