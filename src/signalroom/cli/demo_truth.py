"""The numbers a report showed beside those its upstreams know to be true.

Nothing of the product is asked here: what a message says is compared with what a simulator's ``/truth`` answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

_CENT = Decimal("0.01")
_SUMMARY = ("conversions", "revenue", "cost", "cpa")
_SIDE = ("conversions", "cost", "cpa")
_TREND = ("conversions", "revenue", "cost")
_ORDERS = ("orders", "approved", "declined", "voided", "test_orders", "chargebacks", "revenue")


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing a report showed, and what it should have been.

    Attributes:
        where: Which, e.g. ``trend 2026-11-06 revenue``.
        shown: As the report has it; empty when it is missing.
        truth: As the upstream has it.
        is_number: Whether it counts as a number; labels are compared, not counted.
        agrees: Whether the two are equal.
    """

    where: str
    shown: str
    truth: str
    is_number: bool
    agrees: bool


def fetch_truth(url: str, project: str, day: date) -> Mapping[str, Any]:
    """Return what the upstreams know about a project's day, at the moment their clock shows."""
    import httpx

    # Loopback: a proxy of the environment has no business here.
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"{url}/truth/daily", params={"project": project, "date": day.isoformat()})
    answer.raise_for_status()
    return answer.json()


def compare(data: Mapping[str, Any], truth: Mapping[str, Any], before: Mapping[str, Any]) -> list[Compared]:
    """Return everything a daily summary shows beside the truth.

    Args:
        data: :attr:`signalroom.message.Message.data`.
        truth: The truth of the report's day.
        before: The truth of the day before.
    """
    return list(_pairs(data, truth, before))


def _pairs(data: Mapping[str, Any], truth: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Compared]:
    yield from _record("overall", data.get("overall"), truth["overall"], _SUMMARY)
    yield from _record("internal", data.get("internal"), truth["internal"], _SIDE)
    yield from _record("external", data.get("external"), truth["external"], _SIDE)
    yield from _record("previous day", data.get("previous"), before["overall"], _SUMMARY)
    yield from _record("orders", data.get("orders"), truth["orders"], _ORDERS)
    yield from _record("unmapped", data.get("unmapped"), {"spend": truth["unmapped_spend"]}, ("spend",))
    yield from _records("top", data.get("top"), truth["top"], ("conversions", "cpa"), ("label", "is_internal"))
    yield from _records("trend", data.get("trend"), truth["trend"], _TREND, ("date",))


def _records(
    name: str, shown: Any, truth: Sequence[Mapping[str, Any]], numbers: Sequence[str], words: Sequence[str]
) -> Iterator[Compared]:
    """Compare two lists place by place; a list of another length differs in itself."""
    rows: list[Any] = list(shown) if isinstance(shown, Sequence) and not isinstance(shown, str) else []
    if len(rows) != len(truth):
        yield Compared(f"{name}, how many", str(len(rows)), str(len(truth)), is_number=False, agrees=False)
    for at, true in enumerate(truth):
        row = rows[at] if at < len(rows) else None
        where = f"{name} {true[words[0]]}"
        yield from _record(where, row, true, numbers)
        for word in words:
            told = _field(row, word)
            yield Compared(
                f"{where} {word}", _text(told), _text(true[word]), is_number=False, agrees=told == true[word]
            )


def _record(where: str, shown: Any, truth: Mapping[str, Any], names: Sequence[str]) -> Iterator[Compared]:
    for name in names:
        told, true = _field(shown, name), truth[name]
        missing = not isinstance(shown, Mapping) or name not in shown
        agrees = not missing and _number(told, name) == _number(true, name)
        yield Compared(f"{where} {name}", "" if missing else _text(told), _text(true), is_number=True, agrees=agrees)


def _field(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else None


def _number(value: Any, name: str) -> Decimal | str | None:
    """Return a value as an exact number; a cost per conversion to the cent, because that is what a reader sees."""
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    return number.quantize(_CENT, ROUND_HALF_UP) if name == "cpa" else number


def _text(value: Any) -> str:
    return "n/a" if value is None else str(value)
