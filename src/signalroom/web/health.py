"""`/health`, `/ready` and `/metrics`: whether the process lives, whether it can do its work, and its figures."""

from __future__ import annotations

from signalroom.errors import SignalRoomError
from signalroom.web.endpoint import Answer, Call, Endpoint, Site, Told
from signalroom.web.metrics import exposition
from signalroom.web.shapes import Field, Shape

_HEALTH = Shape("Health", "The process answers.", (Field("status", "string", "Always `ok`.", choices=("ok",)),))
_READY = Shape(
    "Ready",
    "Whether the process can do its work now.",
    (
        Field("ready", "boolean", "Whether it can."),
        Field("problems", "string", "Why it cannot, a sentence each.", many=True),
    ),
)
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def unready(site: Site) -> list[str]:
    """Return why the process cannot do its work now, each a sentence; nothing when it can."""
    problems: list[str] = []
    try:
        site.room.ledger.pauses.notes()
    except SignalRoomError as problem:
        problems.append(str(problem))
    if site.idle is not None and (told := site.idle(site.room.clock.now())):
        problems.append(told)
    problems += [f"{one.name}: {said}" for one in site.loops for said in one.problems()]
    return problems


def _health(call: Call) -> Answer:
    del call
    return Answer({"status": "ok"})


def _ready(call: Call) -> Answer:
    problems = unready(call.site)
    return Answer({"ready": not problems, "problems": problems}, 503 if problems else 200)


def _metrics(call: Call) -> Answer:
    try:
        return Answer(exposition(call.site.room, call.site.loops), media_type=_TEXT)
    except SignalRoomError as problem:
        return Answer(f"{problem}\n".encode(), 503, _TEXT)


_FIGURES = Told("The figures, in Prometheus's text format.", media_type="text/plain")

ENDPOINTS = (
    Endpoint(
        "GET", "/health", "health", "Whether the process lives.", "open", _health, {200: Told("It does.", _HEALTH)}
    ),
    Endpoint(
        "GET", "/ready", "ready", "Whether the process can do its work.", "open", _ready,
        {200: Told("It can.", _READY), 503: Told("It cannot.", _READY)},
    ),
    Endpoint("GET", "/metrics", "metrics", "What the ledger and the warehouse say.", "open", _metrics, {200: _FIGURES}),
)  # fmt: skip
"""Open to whoever reaches the port."""

GUARDED = Endpoint(
    "GET", "/metrics", "metrics", "What the ledger and the warehouse say.", "operate", _metrics, {200: _FIGURES}
)
"""The figures, where the port faces people who may not see them."""
