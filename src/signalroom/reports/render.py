"""Rows to a message: templates are rendered in a process of their own, under limits.

Jinja's sandbox keeps a template away from Python's internals, but ``{{ 'a' * 1000000000 }}`` is legal in it. So a
:class:`Renderer` keeps a few warm processes (started in about 150 ms, then a few milliseconds a message), gives them
templates and rows and nothing else, and ends one that breaks a limit. The next message gets a new one.
"""

from __future__ import annotations

import atexit
import base64
import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from signalroom.errors import ConfigError, DataError
from signalroom.message import Image, Message
from signalroom.position import Json
from signalroom.reports import formats, wire
from signalroom.reports.limits import Limits
from signalroom.reports.process import Breach, Worker
from signalroom.reports.queries import RESERVED
from signalroom.reports.report import Report, Rows

_REPORT_KEY: Final = "_report"
"""Where a message's data keep the day, zone and notes it was rendered with; no query's name starts so."""


class Renderer:
    """Renders messages in warm, confined processes. Safe to share between threads; close it when done.

    Args:
        limits: What one rendering may use up.
        workers: Processes at most, and so messages rendered at the same time.
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._owner = os.getpid()

    def render(
        self,
        report: Report,
        data: Rows,
        *,
        report_date: date,
        timezone: str,
        as_of: datetime,
        notes: Sequence[str] = (),
        load_ids: Sequence[str] = (),
        link: str = "",
    ) -> Message:
        """Return the message that ``report`` makes of ``data``.

        Args:
            report: The report; its templates are read now, so that an edit shows in the next preview.
            data: What :meth:`signalroom.reports.report.Report.collect` returned: query -> records, record or None.
            report_date: The local day it is about.
            timezone: IANA name of the zone of that day, and of every clock time it shows.
            as_of: When the data were read (aware).
            notes: Sentences the reader must see, e.g. that a source is late.
            load_ids: The loads behind the data.
            link: Address of the report in the dashboard; empty for none.

        Raises:
            ConfigError: A template that its author must edit, with file, line and the nearest name.
            DataError: A value or a message that no channel can carry, or a limit that was broken; naming both.
        """
        for name in data:
            if name in RESERVED or not name.isidentifier() or name.startswith("_"):
                raise ConfigError(f"The report {report.name!r} calls its rows {name!r}.", mend="Choose another name.")
        rows = wire.pack(data)
        about: dict[str, Any] = {"report_date": report_date, "timezone": timezone, "as_of": as_of, "notes": list(notes)}
        shared = wire.pack({**about, "link": link, "title": report.title, "report": report.name})
        request = _request(report, {**report.values, **_mapping(rows), **_mapping(shared)}, report_date)
        made = self._ask(report, request)
        return Message(
            report=report.name,
            subject=made["subject"],
            text=made["text"],
            html=made["html"],
            blocks=tuple(made["blocks"]),
            sms=made["sms"],
            images=tuple(Image(one["name"], base64.b64decode(one["png"]), one["alt"]) for one in made["images"]),
            data={**_mapping(wire.plain(rows)), _REPORT_KEY: wire.plain(wire.pack(about))},
            load_ids=tuple(load_ids),
        )

    def warm(self) -> None:
        """Start a process now, so that the first message does not wait for it."""
        with self._lock:
            self._forget_after_fork()
            if not self._idle:
                self._idle.append(Worker(self.limits))

    def close(self) -> None:
        """End the processes that are idle; those at work end with their message."""
        with self._lock:
            self._forget_after_fork()
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    def _ask(self, report: Report, request: Mapping[str, Json]) -> dict[str, Any]:
        with self._slots:
            with self._lock:
                self._forget_after_fork()
                worker = self._idle.pop() if self._idle else None
            worker = worker or Worker(self.limits)
            try:
                answer = worker.ask(request)
            except Breach as breach:
                worker.close()
                raise _broken(report, breach) from None
            except BaseException:
                worker.close()
                raise
            if "made" not in answer and answer["error"] not in {"config", "data"}:
                worker.close()  # it ran out of memory or depth: what it still holds is anyone's guess
            else:
                with self._lock:
                    self._idle.append(worker)
        if "made" in answer:
            return answer["made"]
        raise _refused(report, answer, worker.at, self.limits)

    def _forget_after_fork(self) -> None:
        # A forked child would share its parent's pipes; the processes are the parent's to end.
        if self._owner != os.getpid():
            self._owner, self._idle = os.getpid(), []


_default = Renderer()
atexit.register(_default.close)


def render(report: Report, data: Rows, **about: Any) -> Message:
    """Return the message that ``report`` makes of ``data``, on this process's own :class:`Renderer`.

    Takes the arguments of :meth:`Renderer.render` and raises what it raises.
    """
    return _default.render(report, data, **about)


def close() -> None:
    """End the idle processes of :func:`render`; they are started again when needed."""
    _default.close()


def _request(report: Report, variables: Mapping[str, Json], report_date: date) -> dict[str, Json]:
    paths = {path.name: path for path in report.templates.values()} | dict(report.parts)
    try:
        sources: dict[str, Json] = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"A template of the report {report.name!r} cannot be read: {error}.", mend="Save it as UTF-8."
        ) from error
    return {
        "report": report.name,
        "subject": f"{report.title}, {formats.long_date(report_date)}",
        "sources": sources,
        "forms": {form: path.name for form, path in report.templates.items()},
        "charts": [{**dataclasses.asdict(chart), "lines": list(chart.lines)} for chart in report.charts],
        "variables": variables,
    }


def _refused(report: Report, answer: Mapping[str, str], at: str, limits: Limits) -> ConfigError | DataError:
    match answer["error"]:
        case "config":
            return ConfigError(f"Report {report.name}: {answer['message']}", mend=answer["mend"])
        case "data":
            return DataError(f"Report {report.name}: {answer['message']}", mend=answer["mend"])
        case "depth":
            return ConfigError(
                f"Report {report.name}: {at} includes or calls itself without end.", mend="Break the circle."
            )
        case _:
            return _broken(report, Breach(at, f"needed more than {limits.memory_bytes // 2**20} MB of memory"))


def _broken(report: Report, breach: Breach) -> DataError:
    what = f"the template {breach.at}" if "." in breach.at else breach.at or "rendering"
    return DataError(
        f"Report {report.name}: {what} {breach.why}, and was stopped.",
        mend=breach.mend,
    )


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
