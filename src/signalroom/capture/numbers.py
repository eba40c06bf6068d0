"""Numerics: base-10000 digits to decimals, exactly."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from signalroom.capture.arrays import array
from signalroom.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from signalroom.capture.shapes import Field
    from signalroom.capture.words import Bytes, Cells

_NEGATIVE, _NAN, _INFINITY, _MINUS_INFINITY = 0x4000, 0xC000, 0xD000, 0xF000
_SPECIAL = {_NAN: "NaN", _INFINITY: "Infinity", _MINUS_INFINITY: "-Infinity"}
_EXACT_DIGITS = 18  # what 64 bits hold of any number


def column(batch: Bytes, cells: Cells, field: Field) -> pa.Array[Any]:
    """Return numerics as decimals of the declared precision and scale; as text where none is declared or fits.

    Raises:
        DataError: A value's length is not what its digits need.
    """
    import numpy as np
    import pyarrow as pa

    n, valid = len(cells.start), cells.valid
    head = batch.words("V8")[cells.start].view(">i2").astype(np.int64).reshape(n, 4)
    if not bool(valid.all()):
        head[~valid] = 0
    digits, weight, sign, scales = head.T.copy()
    sign &= 0xFFFF
    if bool(((cells.length != 8 + 2 * digits) & valid).any()) or bool((digits < 0).any()):
        raise DataError(f"A numeric of column {field.name!r} has not the bytes its digits need.")
    declared = field.decimal
    scale = declared[1] if declared else int(scales.max(initial=0))
    whole = np.where(digits > 0, (weight + 1) * 4, 0)
    fits = int(whole.max(initial=0)) + scale <= _EXACT_DIGITS and int(sign.max(initial=0)) <= _NEGATIVE
    # below the last place shown there must be nothing: what is cut would be lost
    fits = fits and int(scales.max(initial=0)) <= scale
    fits = fits and int((weight - digits).min(initial=0)) + 1 >= -(scale + 3) // 4 - 1
    if not fits:
        return _one_by_one(batch, cells, declared)
    words: Any = batch.words(">i2")
    scaled = np.zeros(n, np.int64)
    for place in range(int(digits.max(initial=0))):
        there = place < digits
        digit = words[np.where(there, cells.start + (8 + 2 * place), 0)].astype(np.int64)
        power = (weight - place) * 4 + scale
        low, high = int(power.min()), int(power.max())
        power = power[:1] if low == high else power  # one power for all, as it mostly is, costs nothing a row
        if low < 0:
            digit = (digit / _powers()[(-power).clip(0, 4)]).astype(np.int64)  # a digit has 14 bits: floats are exact
        if high > 0:
            digit *= _powers()[power.clip(0, _EXACT_DIGITS)]
        digit[~there] = 0
        scaled += digit
    scaled = np.where(sign == _NEGATIVE, -scaled, scaled)
    halves = np.empty((n, 2), np.int64)
    halves[:, 0], halves[:, 1] = scaled, scaled >> 63
    kind = pa.decimal128(declared[0], scale) if declared else pa.decimal128(38, scale)
    exact = array(kind, valid, halves)
    return exact if declared else _as_written(exact, scales)


@cache
def _powers() -> Any:
    """Return the powers of ten that 64 bits hold."""
    import numpy as np

    return np.array([10**power for power in range(_EXACT_DIGITS + 1)], np.int64)


def _as_written(exact: pa.Array[Any], scales: Any) -> pa.Array[Any]:
    """Return decimals as text with as many places as each was written with; one pass for each number of places."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    scale = int(getattr(exact.type, "scale", 0))
    written: Any = pc.cast(exact, pa.string())
    for places in np.unique(scales).tolist():
        surplus = scale - places + (places == 0 and scale > 0)
        if surplus:
            cut = pc.utf8_slice_codeunits(written, 0, stop=-surplus)
            written = pc.if_else(pa.array(scales == places), cut, written)
    return written


def _one_by_one(batch: Bytes, cells: Cells, declared: tuple[int, int] | None) -> pa.Array[Any]:
    """Return numerics that 64 bits do not hold, or that are no numbers; rare, so their digits are read in Python."""
    import pyarrow as pa

    spelt = [
        _spelt(batch.raw[start : start + length]) if valid else None
        for start, length, valid in zip(cells.start.tolist(), cells.length.tolist(), cells.valid.tolist(), strict=True)
    ]
    written = pa.array(spelt, pa.string())
    if declared is None or any(one in _SPECIAL.values() for one in spelt):
        return written
    return written.cast(pa.decimal128(*declared))


def _spelt(value: bytes) -> str:
    """Return one numeric as Postgres writes it."""
    count, weight, sign, scale = (int.from_bytes(value[at : at + 2], "big", signed=at == 2) for at in (0, 2, 4, 6))
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    digits = [int.from_bytes(value[8 + 2 * n : 10 + 2 * n], "big") for n in range(count)]
    before = "".join(f"{digits[n] if n < count else 0:04d}" for n in range(weight + 1)).lstrip("0") or "0"
    places = range(weight + 1, weight + 1 + (scale + 3) // 4)
    after = "".join(f"{digits[n] if 0 <= n < count else 0:04d}" for n in places)[:scale]
    minus = "-" if sign == _NEGATIVE else ""
    return f"{minus}{before}.{after}" if scale else f"{minus}{before}"
