"""Jobs of the workspace file: schedules, the steps they run, and the local days a step may ask for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from signalroom.clock import Clock
from signalroom.errors import ConfigError, nearest
from signalroom.stream import Window
from signalroom.workspace.cron import Cron, parse_cron
from signalroom.workspace.settings import injected, setting

Verb: TypeAlias = Literal["sync", "build", "refresh", "report", "run", "replay", "retry", "watch"]
Overlap: TypeAlias = Literal["skip", "queue", "cancel"]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LAST_DAYS = re.compile(r"(\d{1,4})d")
_WINDOWS = "today, yesterday, lookback, 7d, YYYY-MM-DD or YYYY-MM-DD..YYYY-MM-DD"


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How one verb is written: what it names, whether it must, options with a value, and flags."""

    target: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


_VERBS: Mapping[str, _Grammar] = {
    "sync": _Grammar("SOURCE or SOURCE.STREAM", required=True, options=("window",)),
    "build": _Grammar(options=("select",), flags=("full-refresh",)),
    "refresh": _Grammar("VIEW or AGENCY", flags=("force",)),
    "report": _Grammar("REPORT", required=True, options=("date", "channel"), flags=("send",)),
    "run": _Grammar("JOB", required=True),
    "replay": _Grammar(options=("source", "from", "to"), flags=("no-deliveries",)),
    "watch": _Grammar(flags=("digest",)),
    "retry": _Grammar("SOURCE or SOURCE.STREAM", options=("load",)),
}


@dataclass(frozen=True, slots=True)
class StepCall:
    """One step as a job or a person asks for it.

    Attributes:
        verb: ``sync``, ``build``, ``refresh``, ``report``, ``run``, ``replay``, ``retry`` or ``watch``.
        target: What it acts on; empty where the verb needs none.
        options: Option -> its text, or True for a flag; names without the dashes.
    """

    verb: Verb
    target: str = ""
    options: Mapping[str, str | bool] = field(default_factory=dict[str, str | bool])

    @property
    def text(self) -> str:
        """The step as people type it; :func:`parse_step` reads it back."""
        parts = [self.verb, *([self.target] if self.target else [])]
        for name, value in self.options.items():
            parts += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return shlex.join(parts)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """A ``[jobs.NAME]`` table as written."""

    name: str = injected()
    steps: list[str] = setting("What it does, in order.", example='["sync everflow --window today", "build"]')
    schedule: str = setting("When, as cron in local time; without one it runs by hand or after others.", default="")
    timezone: str = setting("IANA zone of the schedule; the workspace's when left out.", default="")
    after: list[str] = setting("Jobs that must have succeeded before it starts.", factory=list)
    overlap: Overlap = setting(
        "When it is due while its last run still goes on: skip this run, queue it, or cancel the old one.",
        default="skip",
    )
    catch_up_h: float = setting(
        "How late it may still start after nothing could run, e.g. on a machine that was off; older ones are missed.",
        default=12.0,
        unit="h",
    )
    retries: int = setting("Attempts of a step before the job fails.", default=5)
    alert: str = setting("Channel that hears of a failure; the one of [alerts] when left out.", default="")


@dataclass(frozen=True, slots=True)
class Job:
    """Steps that run together, on a schedule or by hand.

    Attributes:
        name: Its name in the workspace.
        schedule: Cron text in local time; empty when nothing schedules it.
        timezone: IANA zone of the schedule.
        steps: What it does, in order.
        after: Jobs that must have succeeded before it starts.
        overlap: What happens when it is due while its last run still goes on.
        retries: Attempts of a step before the job fails.
        alert: Channel that hears of a failure; empty means the one of ``[alerts]``.
        catch_up_h: How late it may still start, in hours.
    """

    name: str
    schedule: str
    timezone: str
    steps: tuple[StepCall, ...]
    after: tuple[str, ...] = ()
    overlap: Overlap = "skip"
    retries: int = 5
    alert: str = ""
    catch_up_h: float = 12.0

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the schedule."""
        return ZoneInfo(self.timezone)

    def cron(self) -> Cron | None:
        """Return the parsed schedule, or None when nothing schedules the job."""
        return parse_cron(self.schedule, f"jobs.{self.name}.schedule") if self.schedule else None


@dataclass(frozen=True, slots=True)
class Names:
    """The names a job may refer to."""

    sources: Sequence[str]
    channels: Sequence[str]
    reports: Sequence[str]
    jobs: Sequence[str]


def read_job(settings: JobSettings, timezone: str, names: Names, problems: list[ConfigError]) -> Job | None:
    """Return the job a table describes, or None after adding every problem to ``problems``."""
    path = f"jobs.{settings.name}"
    before = len(problems)
    steps: list[StepCall] = []
    if not settings.steps:
        problems.append(ConfigError(f"{path}.steps: the job has no steps.", mend='Write e.g. steps = ["build"].'))
    for index, text in enumerate(settings.steps):
        try:
            step = parse_step(text, path=f"{path}.steps[{index}]")
        except ConfigError as error:
            problems.append(error)
            continue
        steps.append(step)
        known = {"sync": names.sources, "report": names.reports, "run": names.jobs}.get(step.verb)
        if known is not None:
            noun = {"sync": "source", "report": "report", "run": "job"}[step.verb]
            target = step.target.partition(".")[0] if step.verb == "sync" else step.target
            known_name(noun, target, known, f"{path}.steps[{index}]", problems)
        if isinstance(channel := step.options.get("channel"), str):
            known_name("channel", channel, names.channels, f"{path}.steps[{index}]", problems)
        if step.verb == "retry" and step.target:
            known_name("source", step.target.partition(".")[0], names.sources, f"{path}.steps[{index}]", problems)
        if step.verb == "replay" and isinstance(source := step.options.get("source", ""), str) and source:
            known_name("source", source.partition(".")[0], names.sources, f"{path}.steps[{index}]", problems)
    for index, name in enumerate(settings.after):
        known_name("job", name, names.jobs, f"{path}.after[{index}]", problems)
    if settings.alert:
        known_name("channel", settings.alert, names.channels, f"{path}.alert", problems)
    zone = settings.timezone or timezone
    try:
        if settings.timezone:
            check_zone(settings.timezone, f"{path}.timezone")
        if settings.schedule:
            parse_cron(settings.schedule, f"{path}.schedule")
    except ConfigError as error:
        problems.append(error)
    if not 1 <= settings.retries <= 100:
        problems.append(ConfigError(f"{path}.retries: {settings.retries} is out of range.", mend="Use 1 to 100."))
    if settings.catch_up_h <= 0:
        problems.append(ConfigError(f"{path}.catch_up_h: it must be greater than 0.", mend="Leave it out, or say 12."))
    if len(problems) > before:
        return None
    return Job(
        settings.name, settings.schedule, zone, tuple(steps), tuple(settings.after), settings.overlap,
        settings.retries, settings.alert, settings.catch_up_h,
    )  # fmt: skip


def circles(waits: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the first circle among jobs (job -> the jobs it waits for or runs) as a path, or nothing."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in waits.get(name, ()):
            if circle := walk(other, [*trail, name]):
                return circle
        done.add(name)
        return []

    return next((circle for name in waits if (circle := walk(name, []))), [])


def parse_step(text: str, *, path: str = "") -> StepCall:
    """Return the step that ``text`` asks for.

    Args:
        text: ``sync SOURCE[.STREAM] [--window W]``, ``build [--select M] [--full-refresh]``,
            ``refresh [VIEW|AGENCY] [--force]``, ``report NAME [--date D] [--channel C] [--send]``, ``run JOB``,
            ``replay [--source S] [--from A] [--to B] [--no-deliveries]``, ``retry [SOURCE[.STREAM]] [--load ID]`` or
            ``watch [--digest]``.
        path: Where it is written; it opens every message.

    Raises:
        ConfigError: The verb, an option or a value is unknown, or something is missing.
    """
    where = f"{path}: " if path else ""
    try:
        words = shlex.split(text)
    except ValueError:
        raise ConfigError(f"{where}the step {text!r} has an open quote.", mend="Close it.") from None
    verb = words.pop(0) if words else ""
    grammar = _VERBS.get(verb)
    if grammar is None:
        mend = f"{nearest(verb, _VERBS)} Steps are: {', '.join(_VERBS)}.".strip()
        raise ConfigError(f"{where}unknown step {verb!r}.", mend=mend)
    targets: list[str] = []
    options: dict[str, str | bool] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            targets.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if name in grammar.flags and not equals:
            options[name] = True
        elif name in grammar.options:
            value = value if equals else (words.pop(0) if words and not words[0].startswith("--") else "")
            options[name] = _option(verb, name, value, where)
        else:
            known = [f"--{option}" for option in (*grammar.options, *grammar.flags)]
            mend = nearest(f"--{name}", known) or (f"It takes: {', '.join(known)}." if known else "It takes none.")
            raise ConfigError(f"{where}{verb} has no option {word!r}.", mend=mend)
    if len(targets) > (1 if grammar.target else 0):
        raise ConfigError(
            f"{where}{verb} cannot take {targets[-1]!r}.",
            mend=f"Write {verb} {grammar.target}, one a step." if grammar.target else f"Write {verb} alone.",
        )
    if grammar.required and not targets:
        raise ConfigError(f"{where}{verb} needs a name.", mend=f"Write {verb} {grammar.target}.")
    return StepCall(verb, targets[0] if targets else "", options)  # pyright: ignore[reportArgumentType] - a key of _VERBS


def _option(verb: str, name: str, value: str, where: str) -> str:
    """Return an option's text after checking its form; which days it means depends on when it runs."""
    if not value:
        raise ConfigError(f"{where}--{name} of {verb} has no value.", mend=f"Write --{name} VALUE.")
    if name == "window":
        parse_window(value, date(2000, 1, 1), lookback_days=1, path=where.removesuffix(": "))
    elif name == "date":
        parse_day(value, date(2000, 1, 1), path=where.removesuffix(": "))
    elif name in {"from", "to"}:
        _day(value, where)
    return value


def parse_window(text: str, today: date, *, lookback_days: int | None = None, path: str = "") -> Window:
    """Return the local days that a window's text means; both ends are included.

    Args:
        text: ``today``, ``yesterday``, ``lookback`` (today and the ``lookback_days`` days before it), ``7d`` (the
            last seven days, today included), ``YYYY-MM-DD`` or ``YYYY-MM-DD..YYYY-MM-DD``.
        today: The local date in the source's zone; see :func:`local_today`.
        lookback_days: The source's trailing lookback; None when it has none.
        path: Where the text is written; it opens the message.

    Raises:
        ConfigError: The text is none of these, or its last day is before its first.
    """
    where = f"{path}: " if path else ""
    match text:
        case "today":
            return Window(today, today)
        case "yesterday":
            return Window(today - timedelta(days=1), today - timedelta(days=1))
        case "lookback" if lookback_days is not None:
            return Window(today - timedelta(days=lookback_days), today)
        case "lookback":
            raise ConfigError(f"{where}this source has no lookback.", mend="Name the days, e.g. --window 7d.")
        case _:
            pass
    if (found := _LAST_DAYS.fullmatch(text)) and int(found[1]) > 0:
        return Window(today - timedelta(days=int(found[1]) - 1), today)
    first_text, dots, last_text = text.partition("..")
    if not _DAY.fullmatch(first_text):
        mend = f"{nearest(text, ('today', 'yesterday', 'lookback'))} Use {_WINDOWS}.".strip()
        raise ConfigError(f"{where}unknown window {text!r}.", mend=mend)
    first = _day(first_text, where)
    last = _day(last_text, where) if dots else first
    if last < first:
        raise ConfigError(f"{where}the window {text!r} ends before it begins.", mend="Put the earlier day first.")
    return Window(first, last)


def parse_day(text: str, today: date, *, path: str = "") -> date:
    """Return the local date that ``today``, ``yesterday`` or ``YYYY-MM-DD`` means; raises ConfigError otherwise."""
    if text in {"today", "yesterday"}:
        return today if text == "today" else today - timedelta(days=1)
    return _day(text, f"{path}: " if path else "")


def _day(text: str, where: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # 2026-02-30 has the form of a date and is none
    raise ConfigError(f"{where}{text!r} is not a date.", mend="Write it as YYYY-MM-DD.")


def local_today(clock: Clock, zone: str) -> date:
    """Return the date on the wall in ``zone`` now: never UTC's, never the machine's."""
    check_zone(zone, "timezone")
    return clock.now().astimezone(ZoneInfo(zone)).date()


def check_zone(zone: str, path: str) -> None:
    """Raise ConfigError when ``zone`` is no IANA time zone."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # a folder of zones ("America") fails as a file
        raise ConfigError(
            f"{path}: unknown time zone {zone!r}.",
            mend=nearest(zone, available_timezones()) or 'Use an IANA name, e.g. "America/New_York".',
        ) from None


def known_name(noun: str, name: str, known: Sequence[str], path: str, problems: list[ConfigError]) -> None:
    """Note a problem when ``name`` is none of ``known``."""
    if name not in known:
        names: Any = ", ".join(known) or "none"
        mend = nearest(name, known) or f"Known {noun}s: {names}."
        problems.append(ConfigError(f"{path}: unknown {noun} {name!r}.", mend=mend))
