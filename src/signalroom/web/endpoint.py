"""What one endpoint is: declared once, and read by the routes, by the OpenAPI document and by the tests of access."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from signalroom.web.shapes import Shape

if TYPE_CHECKING:
    from datetime import datetime

    from signalroom.engine.loops import Loop
    from signalroom.ledger.keys import ApiKey
    from signalroom.room import Room

Access: TypeAlias = Literal["open", "own", "read", "refresh", "operate", "administer"]

ROLES: Mapping[Access, frozenset[str]] = {
    "open": frozenset(),
    "own": frozenset(),
    "read": frozenset({"admin", "operator", "agency"}),
    "refresh": frozenset({"admin", "operator", "agency"}),
    "operate": frozenset({"admin", "operator"}),
    "administer": frozenset({"admin"}),
}
"""Which roles a key must have one of. ``open``: nobody is asked; ``own``: the endpoint asks its caller itself."""


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Site:
    """What every endpoint of a process may ask.

    Attributes:
        room: The workspace's room.
        idle: Returns why the worker of this process cannot take steps at a moment, empty when it can; None where no
            worker runs.
        wake: Tells whoever does what callers asked for that there is something to do.
        open_metrics: Whether ``/metrics`` answers without a key.
        loops: What runs beside the worker and follows apps; it is asked how it is.
        kept: What modules of endpoints keep between calls, by their own names.
    """

    room: Room
    idle: Callable[[datetime], str] | None = None
    wake: Callable[[], None] = _nothing
    open_metrics: bool = True
    loops: Sequence[Loop] = ()
    kept: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter in the address after ``?``.

    Attributes:
        name: Its name.
        doc: What it does, one sentence.
        least: A number's least value; None for text.
        most: A number's greatest value; of text, its greatest length.
        default: What it is when left out; None for nothing.
    """

    name: str
    doc: str
    most: int
    least: int | None = None
    default: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request, after its caller is known and its parameters are read.

    Attributes:
        site: What it may ask.
        path: Names in the path -> their texts.
        query: Parameters -> a number or a text; those left out have their default.
        headers: By name in lower case.
        body: As it was sent; empty for GET.
        key: The key it came with; None at endpoints that ask for none.
    """

    site: Site
    path: Mapping[str, str]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: bytes = b""
    key: ApiKey | None = None

    @property
    def agency_id(self) -> int | None:
        """The only agency whose things this caller may see; None for all of them."""
        return None if self.key is None else self.key.agency_id


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back.

    Attributes:
        content: JSON values; or bytes, sent as they are.
        status: Of HTTP.
        media_type: Of bytes.
        headers: Beyond those that every answer has.
    """

    content: object
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Told:
    """One answer as the OpenAPI document describes it: a sentence, its shape, and whether it is a list of them."""

    doc: str
    shape: Shape | None = None
    many: bool = False
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        method: ``GET`` or ``POST``.
        path: With ``{names}``.
        name: Its operation id.
        doc: What it does; the first sentence is its summary.
        access: Who may call it; see :data:`ROLES`.
        answer: Answers a call, on a thread of its own; may raise :class:`Refusal` and what the product raises.
        told: Status -> what the answer is; refusals that every endpoint shares are added.
        params: Parameters after ``?``; any other is refused.
        body: What a POST carries; None where its body is not read as JSON.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    doc: str
    access: Access
    answer: Callable[[Call], Answer]
    told: Mapping[int, Told]
    params: tuple[Param, ...] = ()
    body: Shape | None = None


class Refusal(Exception):  # noqa: N818 - it is the answer, not a failure
    """A request that is answered with an error.

    Attributes:
        status: Of HTTP.
        code: One word for programs.
        message: A sentence for people.
        headers: Beyond those that every answer has.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})


def read_object(body: bytes, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is an empty one.

    Args:
        body: As it was sent.
        known: The only fields it may have, each with the types its value may be of.

    Raises:
        Refusal: 400 for what is no such object.
    """
    import orjson

    try:
        given: Any = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        raise Refusal(400, "bad_body", "The body is no JSON.") from None
    if not isinstance(given, dict) or not set(given) <= set(known):
        raise Refusal(400, "bad_body", f"The body is a JSON object with no fields but: {', '.join(known)}.")
    found = cast("dict[str, Any]", given)
    for name, value in found.items():
        if not isinstance(value, known[name]):
            raise Refusal(400, "bad_body", f"{name}: its value is of another type.")
    return found


def missing() -> Refusal:
    """Return the one answer for what is not there and for what the caller may not see: they must look alike."""
    return Refusal(404, "not_found", "There is nothing here.")
