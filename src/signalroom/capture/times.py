"""Dates and times: counts since the year 2000 to Arrow, and to text where Arrow or a warehouse would not hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from signalroom.capture.arrays import array

if TYPE_CHECKING:
    import pyarrow as pa

    from signalroom.capture.words import Bytes, Cells

_EPOCH_DAYS, _EPOCH_US = 10_957, 946_684_800_000_000  # from 1970 to 2000
_FIRST_DAY, _AFTER_DAY = -719_162, 2_932_897  # 0001-01-01 and 10000-01-01, from 1970
_DAY_US = 86_400_000_000


def column(batch: Bytes, cells: Cells, kind: str) -> pa.Array[Any]:
    """Return dates, timestamps or timestamps with a zone (UTC); text where one is infinite, BC or past the year 9999.

    Args:
        batch: The bytes.
        cells: The cells.
        kind: ``date``, ``timestamp`` or ``timestamptz``.
    """
    import numpy as np
    import pyarrow as pa

    days = kind == "date"
    counted: Any = batch.words(">i4" if days else ">i8")[cells.start].astype(np.int64)
    first, after = (1, 1) if days else (_DAY_US, _DAY_US)
    epoch = _EPOCH_DAYS if days else _EPOCH_US
    low, high = _FIRST_DAY * first - epoch, _AFTER_DAY * after - epoch
    outside = cells.valid & ((counted < low) | (counted >= high))
    if bool(outside.any()):
        return _as_text(counted, cells, kind)
    values = np.where(cells.valid, counted + epoch, 0).astype(np.int32 if days else np.int64)
    types = {"date": pa.date32(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC")}
    return array(types[kind], cells.valid, values)


def _as_text(counted: Any, cells: Cells, kind: str) -> pa.Array[Any]:
    """Return a column as Postgres writes it; a batch with such a value is rare, so each is written by itself."""
    import pyarrow as pa

    write = _date if kind == "date" else _moment
    zone = "+00" if kind == "timestamptz" else ""
    pairs = zip(counted.tolist(), cells.valid.tolist(), strict=True)
    return pa.array([write(value, zone) if valid else None for value, valid in pairs], pa.string())


def _date(days: int, zone: str) -> str:
    if abs(days) >= 2**31 - 1:
        return "infinity" if days > 0 else "-infinity"
    year, rest = _calendar(days + _EPOCH_DAYS)
    return f"{year}{rest}{zone}" if year[0] != "-" else f"{int(year[1:]) + 1:04d}{rest}{zone} BC"


def _moment(count: int, zone: str) -> str:
    if abs(count) >= 2**63 - 1:
        return "infinity" if count > 0 else "-infinity"
    days, us = divmod(count, _DAY_US)
    seconds, part = divmod(us, 1_000_000)
    clock = f" {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    fraction = f".{part:06d}".rstrip("0") if part else ""
    return _date(days, f"{clock}{fraction}{zone}")


def _calendar(days: int) -> tuple[str, str]:
    """Return the astronomical year (there is a year 0) and ``-MM-DD`` of a day counted from 1970."""
    import numpy as np

    spelt = str(np.datetime64(days, "D"))
    year, rest = spelt[:-6], spelt[-6:]
    return (f"{int(year):04d}" if int(year) > 0 else f"-{-int(year)}"), rest
