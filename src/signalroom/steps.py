"""The whole product on one page: each step asks the stages what it needs and hands nothing to the next step.

A step asks what is pending instead of trusting what the step before it did: a crash between two steps loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from signalroom import delivering, watching
from signalroom.channels.once import send_again
from signalroom.errors import ConfigError
from signalroom.failpoints import failpoint
from signalroom.load import Load, Part
from signalroom.message import Delivery, Message
from signalroom.readiness import late_inputs
from signalroom.run import OnProgress, Progress, ignore_progress
from signalroom.stream import Stream, Window
from signalroom.warehouse.base import MergeResult
from signalroom.watching import Watched

if TYPE_CHECKING:
    from signalroom.models.artifacts import BuildResult
    from signalroom.room import Room
    from signalroom.views.refresh import RefreshResult


@dataclass(frozen=True, slots=True)
class StreamSync:
    """What one sync did to one stream: its merge, the bytes that were merged, and the seconds it took."""

    stream: str
    merge: MergeResult
    bytes: int
    seconds: float


def ingest(
    room: Room, stream: Stream, window: Window | None = None, progress: OnProgress = ignore_progress
) -> tuple[Load | None, tuple[str, ...]]:
    """Bring what is new upstream into the lake as one load.

    Returns:
        The load, None when nothing is new; and a sentence for each file, page or message that could not be read.
    """
    merged = room.warehouse.merged(stream.source, stream.name)
    pending = room.lake.loads(stream.source, stream.name, room.lake.pending(stream.source, stream.name, merged))
    since = room.warehouse.positions(stream.source, stream.name).overlay(*(load.positions for load in pending))
    batches = room.source(stream.source).read(stream, since, window)
    rows = seen = 0

    def report(part: Part) -> None:
        nonlocal rows, seen
        rows, seen = rows + part.rows, seen + part.bytes
        progress(Progress(f"reading {stream.title}", rows, seen))

    with room.lake.begin(stream) as writer:
        writer.append_many(batches, report)
        return writer.commit(), tuple(
            f"{stream.title}: {one.source_ref} cannot be read ({one.reason.rstrip('.')}) and is kept in the lake as "
            f"{one.archive}; once it is replaced, `signalroom sync {stream.title}` reads it."
            for one in writer.unreadable
        )


def load(room: Room, stream: Stream, progress: OnProgress = ignore_progress) -> tuple[MergeResult, int]:
    """Merge every committed load the warehouse does not have; return the result and the bytes merged."""
    merged = room.warehouse.merged(stream.source, stream.name)
    loads = room.lake.loads(stream.source, stream.name, room.lake.pending(stream.source, stream.name, merged))
    failpoint("steps.load")
    result = room.warehouse.merge(stream, loads, room.lake, progress=progress) if loads else MergeResult(())
    room.source(stream.source).confirm(stream, room.warehouse.positions(stream.source, stream.name))
    return result, sum(one.bytes for one in loads)


def sync(
    room: Room, stream: Stream, window: Window | None = None, progress: OnProgress = ignore_progress
) -> StreamSync:
    """Ingest and load one stream."""
    began = time.monotonic()
    _, set_aside = ingest(room, stream, window, progress)
    result, size = load(room, stream, progress)
    result = replace(result, notes=(*set_aside, *result.notes))
    return StreamSync(stream.title, result, size, time.monotonic() - began)


def build(room: Room, *, select: str = "", full_refresh: bool = False) -> BuildResult:
    """Run the workspace's dbt project and record which loads each source table had before and after."""
    from signalroom.models.dbt import build as run_dbt

    before, started = room.warehouse.newest_loads(), room.clock.now()
    result = run_dbt(
        room.workspace.root / "models",
        room.warehouse.dbt_profile(),
        target_dir=room.state("dbt"),
        select=select or None,
        full_refresh=full_refresh,
    )
    failpoint("steps.build")
    room.warehouse.record_build(started, room.clock.now(), before, room.warehouse.newest_loads())
    return result


def refresh(
    room: Room, target: str = "", *, force: bool = False, progress: OnProgress = ignore_progress
) -> RefreshResult:
    """Compute the report views whose query or inputs changed: all, or one view's or agency's."""
    failpoint("steps.refresh")
    return room.refresher.refresh(target, progress, force=force)


def preview(room: Room, report: str, day: date, notes: Sequence[str] = ()) -> Message:
    """Render a report for one local day from the rows as they are, with ``notes``; sends and stores nothing."""
    found = room.report(report)
    zone = room.workspace.timezone
    with room.warehouse.snapshot() as ask:
        data = found.collect(lambda sql, params: ask(sql, params).to_pylist(), report_date=day, timezone=zone)
        load_ids = room.warehouse.built_from(ask)
    return delivering.render(room, found, data, day, notes=notes, load_ids=load_ids)


def deliver(room: Room, report: str, day: date, due_at: datetime, channels: Sequence[str] = ()) -> list[Delivery]:
    """Send a report once to each recipient of its channels; what was sent under the same key is not sent again.

    Raises:
        RetryableError: It waits for late inputs, another process is sending it, or a channel may take it later.
        SignalRoomError: What a recipient's channel raised, once all the others were served.
    """

    def make() -> Message:
        return preview(room, report, day, late_inputs(room, report, due_at, wait=True))

    return delivering.deliver(room, [delivering.Due(report, due_at, channels or room.channels_of(report), make)])


def resend(room: Room, key: str) -> Delivery:
    """Send an archived message again to one recipient because a person asks for it; see :func:`send_again`."""
    known = room.ledger.deliveries.get(key)
    if known is None:
        raise ConfigError(f"There is no delivery {key!r}.", mend="`signalroom deliveries` lists them.")
    return send_again(room.ledger, room.channel(known.channel), known)


def watch(room: Room, *, digest: bool = False) -> Watched:
    """Look for what is wrong and tell it once to who must know; with ``digest``, send yesterday's digest instead."""
    return Watched((), tuple(watching.digest(room))) if digest else watching.watch(room)


def replay(
    room: Room, stream: Stream, first: date | None, last: date | None, progress: OnProgress = ignore_progress
) -> StreamSync | None:
    """Type and merge a stream's loads again from the lake; None when no load was committed in the days asked for.

    The days are those of the workspace's zone and choose the streams; a table is always rebuilt from every load, so it
    equals the live one exactly.
    """
    began = time.monotonic()
    loads = room.lake.loads(stream.source, stream.name)
    zone = ZoneInfo(room.workspace.timezone)
    days = [one.committed_at.astimezone(zone).date() for one in loads]
    if not any((first is None or day >= first) and (last is None or day <= last) for day in days):
        return None
    result = room.warehouse.merge(stream, loads, room.lake, replay=True, progress=progress)
    return StreamSync(stream.title, result, sum(one.bytes for one in loads), time.monotonic() - began)


def retry(room: Room, stream: Stream, load_id: str = "", progress: OnProgress = ignore_progress) -> StreamSync | None:
    """Type a stream's rows that were set aside again and merge those that fit now; None when there are none.

    Where a row fits, the stream's tables are rebuilt: every row then means what the pins and settings of today say.
    """
    began = time.monotonic()
    result = room.warehouse.retry(stream, room.lake, load_id=load_id, progress=progress)
    if not result.rows_in:
        return None
    held = room.lake.loads(stream.source, stream.name, result.load_ids)
    return StreamSync(stream.title, result, sum(one.bytes for one in held), time.monotonic() - began)
