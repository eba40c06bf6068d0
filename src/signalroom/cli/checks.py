"""Everything that can be wrong with a workspace before its first sync, each looked at on its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalroom.cli.output import count
from signalroom.errors import SignalRoomError, nearest

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.workspace.parts import Part
    from signalroom.workspace.workspace import Workspace

_VERSIONED = ("duckdb", "dbt-core", "dbt-duckdb")
_BOUND = re.compile(r"(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)")
_MOST_DRIFT = timedelta(seconds=60)
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one check.

    Attributes:
        what: What was looked at, e.g. ``sources.everflow``.
        detail: What was found right; why it was not tried.
        problems: What is wrong, each one sentence with its mend.
        tried: False where an earlier problem kept it from being looked at.
    """

    what: str
    detail: str = ""
    problems: Sequence[str] = field(default=())
    tried: bool = True

    @property
    def fine(self) -> bool:
        """Whether it was looked at and found right."""
        return self.tried and not self.problems


def check_files(start: Path | None) -> list[Finding]:
    """Return what the workspace's own files and this installation tell; opens nothing."""
    from signalroom.lake.lake import LakeSettings
    from signalroom.ledger.ledger import LedgerSettings
    from signalroom.workspace.workspace import Workspace

    shapes = {"lake": LakeSettings, "ledger": LedgerSettings}
    problems = Workspace.problems(start or Path.cwd(), shapes=shapes)
    return [Finding("workspace", "signalroom.toml, .env and schemas/ are right", problems), check_versions()]


def check_room(room: Room, known: Sequence[str]) -> Iterator[Finding]:
    """Yield what opening each part of a workspace tells.

    Args:
        room: The workspace's room.
        known: Problems of its files: a part that has one is not opened.
    """
    workspace = room.workspace
    yield _environment(workspace)
    broken = {part.path for part in workspace.parts() if any(_about(part, problem) for problem in known)}
    opened = _guarded(workspace.warehouse.path, broken, lambda: _warehouse(room))
    yield opened
    answers = opened.fine or (opened.tried and _guarded("warehouse", broken, lambda: _asked(room)).fine)
    yield _clock(room, asks_warehouse=answers)
    yield _guarded("lake", broken, lambda: _lake(room))
    yield _guarded("ledger", broken, lambda: _ledger(room))
    yield from _plugins(room, broken)
    yield from _apps(room, broken)
    yield from _databases(room)
    yield _pins(room, broken)
    yield _reports(room, broken)
    yield from _manifests(room, broken, answers=answers)
    yield _models(room) if answers else Finding("models", "not tried: the warehouse comes first", tried=False)


def check_versions() -> Finding:
    """Return whether the libraries that matter most are of versions this package was made for."""
    from importlib.metadata import PackageNotFoundError, requires, version

    asked = {re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0]: line for line in requires("signalroom") or []}
    found: list[str] = []
    problems: list[str] = []
    for name in _VERSIONED:
        try:
            installed = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is not installed. Install signalroom again.")
            continue
        found.append(f"{name} {installed}")
        wanted = asked.get(name, "").removeprefix(name).partition(";")[0].strip()
        if not supports(installed, wanted):
            problems.append(f"{name} {installed} is not one this version works with. Install {name} {wanted}.")
    return Finding("versions", ", ".join(found), problems)


def supports(installed: str, wanted: str) -> bool:
    """Tell whether a version lies within bounds such as ``<3,>=1.5.5``."""

    def parts(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    for sign, bound in _BOUND.findall(wanted):
        ours, theirs = parts(installed), parts(bound)
        ours += (0,) * (len(theirs) - len(ours))
        theirs += (0,) * (len(ours) - len(theirs))
        held = {
            "<": ours < theirs, "<=": ours <= theirs, ">": ours > theirs, ">=": ours >= theirs,
            "==": ours == theirs, "!=": ours != theirs,
        }  # fmt: skip
        if not held[sign]:
            return False
    return True


def _environment(workspace: Workspace) -> Finding:
    """Return how many variables are set; those that are not are problems of the workspace's files."""
    variables = {found.variable: found.is_set for found in workspace.references()}
    unset = sorted(name for name, is_set in variables.items() if not is_set)
    if unset:
        return Finding("environment", problems=[f"Not set: {', '.join(unset)}. Export them or put them in .env."])
    return Finding("environment", f"{count(len(variables), 'variable')} set" if variables else "nothing refers to it")


def _about(part: Part, problem: str) -> bool:
    return re.match(rf"{re.escape(part.path)}\b", problem) is not None


def _guarded(what: str, broken: set[str], look: Callable[[], Finding]) -> Finding:
    """Return what a check finds; whatever it raises is a problem, never a traceback."""
    if what in broken:
        return Finding(what, "not tried: mend its settings first", tried=False)
    try:
        return look()
    except SignalRoomError as problem:
        return Finding(what, problems=[str(problem)])
    except Exception as problem:  # noqa: BLE001 - a stranger's plugin may fail in any way; the others are still checked
        return Finding(what, problems=[f"It failed with {type(problem).__name__}: {problem}."])


def _warehouse(room: Room) -> Finding:
    problems = room.warehouse.check()
    return Finding("warehouse", f"{room.workspace.warehouse.kind} can be read and written", problems)


def _asked(room: Room) -> Finding:
    """Tell whether the warehouse answers at all, whatever is wrong with its settings."""
    room.warehouse.query("SELECT 1 AS one")
    return Finding("warehouse")


def _clock(room: Room, *, asks_warehouse: bool) -> Finding:
    """Return whether the machine's clock agrees with the warehouse's and with what was written before."""

    def look() -> Finding:
        now, real = room.clock.now(), datetime.now(UTC)
        if real < _BUILT:
            return Finding("clock", problems=[f"The machine's clock shows {real:%Y-%m-%d}. Set it."])
        if asks_warehouse:
            theirs: datetime = room.warehouse.query("SELECT now() AS moment").to_pylist()[0]["moment"]
            drift = abs(theirs - datetime.now(UTC))
            if drift > _MOST_DRIFT:
                told = f"The machine's clock and the warehouse's are {drift.total_seconds():.0f} s apart."
                return Finding("clock", problems=[f"{told} Set one by a time server."])
        last = next(iter(room.ledger.runs.list(1)), None)
        if last is not None and last.started_at > now + _MOST_DRIFT:
            told = f"The last run began at {last.started_at:%Y-%m-%d %H:%M} UTC, which the clock has not reached."
            return Finding("clock", problems=[f"{told} Set the clock: loads are ordered by it."])
        return Finding("clock", f"{now:%Y-%m-%d %H:%M} UTC, days are those of {room.workspace.timezone}")

    return _guarded("clock", set(), look)


def _lake(room: Room) -> Finding:
    """Write a few bytes and take them away again."""
    store = room.lake.store
    key = f"_check/{room.clock.now():%Y%m%dT%H%M%S%f}"
    store.put(key, [b"signalroom check\n"])
    store.delete([key])
    return Finding("lake", f"{store.url} can be written")


def _ledger(room: Room) -> Finding:
    runs = room.ledger.runs.list(1)
    return Finding("ledger", f"reachable, last run {runs[0].status}" if runs else "reachable, nothing has run yet")


def _plugins(room: Room, broken: set[str]) -> list[Finding]:
    """Return what each source and channel says of itself; they are asked at the same time."""
    asks: list[tuple[str, Callable[[], Any]]] = [
        *((part.path, lambda name=name: room.source(name)) for name, part in room.workspace.sources.items()),
        *((part.path, lambda name=name: room.channel(name)) for name, part in room.workspace.channels.items()),
    ]

    def ask(item: tuple[str, Callable[[], Any]]) -> Finding:
        what, make = item
        return _guarded(what, broken, lambda: Finding(what, "answers", make().check()))

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(ask, asks))


def _apps(room: Room, broken: set[str]) -> Iterator[Finding]:
    """Yield what the databases of the apps that are followed tell: the kit, its triggers, its relay, the replica."""
    for name, part in room.workspace.projections.items():

        def look(what: str = part.path, name: str = name) -> Finding:
            from signalroom.engine.following import projection
            from signalroom.projections.inspection import inspect

            return Finding(
                what, "the leader kit is installed, relayed and as declared", inspect(projection(room, name))
            )

        yield _guarded(part.path, broken, look)


def _databases(room: Room) -> Iterator[Finding]:
    """Yield what the databases of views other than the warehouse say."""
    from signalroom.views.databases import Numbered

    for number in sorted(Numbered.of(room.workspace).elsewhere):

        def look(what: str = f"views.databases.{number}", number: int = number) -> Finding:
            return Finding(what, "can be read and written", room.database(number).check())

        yield _guarded(f"views.databases.{number}", set(), look)


def _manifests(room: Room, broken: set[str], *, answers: bool) -> Iterator[Finding]:
    """Yield what keeps the views of `views/` from being computed, where there are manifests."""
    from signalroom.views.files import manifest_files

    if not manifest_files(room.workspace.root):
        return
    if not answers:
        yield Finding("manifests", "not tried: the warehouse comes first", tried=False)
        return

    def look() -> Finding:
        found = room.refresher.written()
        wrong = [
            (view.name, query) for view in found if isinstance(query := room.refresher.ready(view), SignalRoomError)
        ]
        return Finding("manifests", count(len(found), "report view"), [f"{name}: {query}" for name, query in wrong])

    yield _guarded("manifests", broken, look)


def _pins(room: Room, broken: set[str]) -> Finding:
    """Return the pinned schemas of streams that no source has."""
    problems: list[str] = []
    files = sorted((room.workspace.root / "schemas").glob("*.toml"))
    for file in files:
        source, _, name = file.name.removesuffix(".toml").partition(".")
        if source not in room.workspace.sources or f"sources.{source}" in broken:
            continue  # told already
        try:
            streams = room.source(source).streams()
        except SignalRoomError:
            continue
        known = [stream.name for stream in streams] + [table.name for stream in streams for table in stream.tables]
        if name not in known:
            mend = nearest(name, known) or "Rename it or remove it."
            problems.append(f"schemas/{file.name}: source {source!r} has no stream {name!r}. {mend}")
    return Finding("schemas", f"{count(len(files), 'stream')} pinned", problems)


def _reports(room: Room, broken: set[str]) -> Finding:
    """Return the reports that cannot be read, that go nowhere, or that need a stream no source has."""

    def look() -> Finding:
        problems: list[str] = []
        for name in room.reports:
            try:
                room.channels_of(name)
            except SignalRoomError as problem:
                problems.append(str(problem))
            problems += _unknown_needs(room, name, broken)
        return Finding("reports", count(len(room.reports), "report"), problems)

    return _guarded("reports", set(), look)


def _unknown_needs(room: Room, report: str, broken: set[str]) -> Iterator[str]:
    """Yield the streams that a report needs and that their source does not have."""
    settings = room.workspace.reports.get(report)
    for need in settings.needs if settings else ():
        source, dot, stream = need.partition(".")
        if not dot or source not in room.workspace.sources or f"sources.{source}" in broken:
            continue
        try:
            known = [one.name for one in room.source(source).streams()]
        except SignalRoomError:
            continue  # its own line tells
        if stream not in known:
            mend = nearest(stream, known) or f"Its streams: {', '.join(known)}."
            yield f"reports.{report}.needs: source {source!r} has no stream {stream!r}. {mend}"


def _models(room: Room) -> Finding:
    """Let dbt read the project as a build would."""
    folder = room.workspace.root / "models"
    if not folder.is_dir():
        return Finding("models", "the workspace has none")

    def look() -> Finding:
        from signalroom.models.dbt import parse

        models = parse(folder, room.warehouse.dbt_profile(), target_dir=room.state("dbt"))
        return Finding("models", f"dbt reads {count(models, 'model')}")

    return _guarded("models", set(), look)
