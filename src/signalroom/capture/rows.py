"""Rows of one table: messages or COPY records walked column by column, all rows in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from signalroom.capture.cells import column
from signalroom.capture.shapes import Field, Shape
from signalroom.capture.words import Bytes, Cells
from signalroom.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

HEADER_BYTES = 25
"""Bytes before the payload of a message: its kind, where its change lies in the WAL, the WAL's end, the time."""

_INSERT, _UPDATE, _DELETE = b"IUD"
_OLD, _KEY, _NEW = b"OKN"
_NULL, _UNCHANGED, _TEXT, _BINARY = b"nutb"


def changes(shape: Shape, messages: list[bytes], key: Sequence[str], base: int = 0) -> list[pa.RecordBatch]:
    """Return what inserts, updates and deletes of one table did: a batch of upserts and one of deletes, if any.

    Beside the table's columns a batch has ``_op``, ``_seq`` and ``_unset`` (see ``Batch`` in ``stream.py``). A change
    of the key is a delete of the old key and an upsert of the new one. An unchanged cell whose value the old row tells
    has that value.

    Args:
        shape: The table.
        messages: Whole messages with their headers, in order.
        key: The columns that identify a row; without one no update is a change of the key.
        base: What is added to a WAL address to make ``_seq``.

    Raises:
        DataError: A message is cut, too long, or no tuple of the table.
    """
    import numpy as np

    batch = Bytes(messages)
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    ends = np.cumsum(lengths)
    begins = ends - lengths
    if bool((lengths < HEADER_BYTES + 8).any()):
        raise DataError(f"The database sent a change of {shape.title} that is cut.")
    seq = batch.words(">i8")[begins + 1].astype(np.int64) + base
    verb, tag = batch.u1[begins + HEADER_BYTES], batch.u1[begins + HEADER_BYTES + 5]
    known = np.isin(verb, (_INSERT, _UPDATE, _DELETE)) & np.isin(tag, (_OLD, _KEY, _NEW))
    if not bool((known & ((tag == _NEW) != (verb == _DELETE)) | (verb == _UPDATE)).all()):
        raise DataError(f"The database sent a change of {shape.title} of no known kind.")
    at = begins + HEADER_BYTES + 6
    has_old = tag != _NEW
    old_rows = np.flatnonzero(has_old)
    old: list[Cells] = []
    if len(old_rows):
        old, after = _walk(batch, at[old_rows], ends[old_rows], shape)
        at[old_rows] = after
        updated = old_rows[verb[old_rows] == _UPDATE]
        if bool((batch.u1[np.minimum(at[updated], batch.size)] != _NEW).any()):
            raise DataError(f"The database sent an update of {shape.title} without its new row.")
        at[updated] += 1
    new_rows = np.flatnonzero(verb != _DELETE)
    found: list[pa.RecordBatch] = []
    new: list[Cells] = []
    if len(new_rows):
        new, at[new_rows] = _walk(batch, at[new_rows], ends[new_rows], shape)
        _fill_unchanged(shape, new, new_rows, old, old_rows, tag)
        found.append(_batch(batch, shape, new, "upsert", seq[new_rows]))
    if bool((at != ends).any()):
        raise DataError(f"The database sent a change of {shape.title} with bytes too many.")
    if len(old_rows):
        gone = _gone(batch, shape, key, new, new_rows, old, old_rows)
        if bool(gone.any()):
            left = [cells.at(np.flatnonzero(gone)) for cells in old]
            found.append(_batch(batch, shape, left, "delete", seq[old_rows[gone]]))
    return found


def truncation(shape: Shape, seq: int) -> pa.RecordBatch:
    """Return the row that says that a table was emptied at ``seq``: its data are null."""
    import pyarrow as pa

    names = [field.name for field in shape.fields]
    arrays: list[Any] = [pa.nulls(1, pa.string()) for _ in names]
    return pa.RecordBatch.from_arrays(
        [*arrays, *_controls("truncate", pa.array([seq], pa.int64()), None)], names=[*names, "_op", "_seq", "_unset"]
    )


def copied(shape: Shape, records: list[bytes], seq: int) -> pa.RecordBatch:
    """Return rows of a binary COPY as upserts that all have one ``seq``.

    Args:
        shape: The table, its fields in the order of the COPY.
        records: Whole records, without the header and the trailer of the COPY.
        seq: Their ``_seq``.

    Raises:
        DataError: A record is cut, too long, or has another number of columns.
    """
    import numpy as np

    batch = Bytes(records)
    lengths = np.fromiter(map(len, records), np.int64, len(records))
    ends = np.cumsum(lengths)
    at = ends - lengths
    words = batch.words(">i4")
    if bool((batch.words(">i2")[at] != len(shape.fields)).any()):
        raise DataError(f"A row of {shape.title} has not the {len(shape.fields)} columns asked for.")
    at = at + 2
    cells: list[Cells] = []
    for field in shape.fields:
        said = words[at].astype(np.int64)
        valid, start = said >= 0, at + 4
        if bool(valid.all()):
            at = start + said
        else:
            said = np.where(valid, said, 0)
            at, start = start + said, np.where(valid, start, 0)
        cells.append(Cells(start, said, valid, text=not field.kind))
    _require_inside(at, ends, shape)  # once: no step goes back, and one out of the batch is refused by numpy
    if bool((at != ends).any()):
        raise DataError(f"A row of {shape.title} has bytes too many.")
    return _batch(batch, shape, cells, "upsert", np.full(len(records), seq, np.int64))


def _walk(batch: Bytes, at: Any, ends: Any, shape: Shape) -> tuple[list[Cells], Any]:
    """Return the cells of the tuples that begin at ``at``, and where each ends."""
    import numpy as np

    counts, lengths = batch.words(">i2"), batch.words(">i4")
    _require_inside(at + 2, ends, shape)
    if bool((counts[at] != len(shape.fields)).any()):
        raise DataError(f"A row of {shape.title} has not the columns that the database announced.")
    at = at + 2
    cells: list[Cells] = []
    for field in shape.fields:
        kind = batch.u1[at]  # which is inside the batch: what is past its end was refused
        if bool((kind == _BINARY).all()):
            length = lengths[at + 1].astype(np.int64)
            after = at + 5 + length
            if bool((length < 0).any()):
                raise DataError(f"Column {field.name!r} of {shape.title} came in no known form.")
            _require_inside(after, ends, shape)
            cells.append(Cells(at + 5, length, np.ones(len(at), np.bool_)))
            at = after
            continue
        texts, binaries = kind == _TEXT, kind == _BINARY
        valid = texts | binaries
        length = np.where(valid, lengths[at + 1], 0).astype(np.int64)
        unset = kind == _UNCHANGED
        as_text, as_binary = bool(texts.any()), bool(binaries.any())
        if not bool((valid | unset | (kind == _NULL)).all()) or bool((length < 0).any()) or (as_text and as_binary):
            raise DataError(f"Column {field.name!r} of {shape.title} came in no known form.")
        after = np.where(valid, at + 5 + length, at + 1)
        _require_inside(after, ends, shape)
        missing = unset if bool(unset.any()) else None
        cells.append(Cells(np.where(valid, at + 5, 0), length, valid, as_text, missing))
        at = after
    return cells, at


def _require_inside(at: Any, ends: Any, shape: Shape) -> None:
    if bool((at > ends).any()):
        raise DataError(f"The database sent a row of {shape.title} that is cut.")


def _fill_unchanged(shape: Shape, new: list[Cells], new_rows: Any, old: list[Cells], old_rows: Any, tag: Any) -> None:
    """Take the value of an unchanged cell from the old row, where that came whole or the column is in its key."""
    import numpy as np

    if not old:
        return
    place = np.full(len(tag), -1, np.int64)
    place[old_rows] = np.arange(len(old_rows))
    for number, (field, cells) in enumerate(zip(shape.fields, new, strict=True)):
        if cells.unset is None:
            continue
        told = (tag == _OLD) | ((tag == _KEY) & field.identity)
        here = np.flatnonzero(cells.unset & told[new_rows])
        there = place[new_rows[here]]
        was = old[number]
        cells.start[here], cells.length[here], cells.valid[here] = (
            was.start[there], was.length[there], was.valid[there],
        )  # fmt: skip
        cells.unset[here] = was.unset[there] if was.unset is not None else False
        cells.text = cells.text or was.text
        if not bool(cells.unset.any()):
            cells.unset = None


def _gone(
    batch: Bytes, shape: Shape, key: Sequence[str], new: list[Cells], new_rows: Any, old: list[Cells], old_rows: Any
) -> Any:
    """Return which old rows left their key: all that were deleted, and of the updated those that have another key."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    at = np.searchsorted(new_rows, old_rows)
    updated = np.isin(old_rows, new_rows)
    gone = ~updated
    here = np.flatnonzero(updated)
    for number, field in enumerate(shape.fields):
        if field.name in key and len(here):
            now = column(batch, new[number].at(at[here]), field)
            was = column(batch, old[number].at(here), field)
            other: Any = pc.not_equal(pc.cast(now, pa.string()), pc.cast(was, pa.string()))
            gone[here] |= np.asarray(pc.fill_null(other, True))
    return gone


def _batch(batch: Bytes, shape: Shape, cells: list[Cells], verb: str, seq: Any) -> pa.RecordBatch:
    import pyarrow as pa

    arrays: list[Any] = [column(batch, one, field) for one, field in zip(cells, shape.fields, strict=True)]
    names = [field.name for field in shape.fields]
    unset = None if verb == "delete" else _unset(shape.fields, cells)
    arrays += _controls(verb, pa.array(seq, pa.int64()), unset)
    return pa.RecordBatch.from_arrays(arrays, names=[*names, "_op", "_seq", "_unset"])


def _controls(verb: str, seq: pa.Array[Any], unset: pa.Array[Any] | None) -> list[Any]:
    import pyarrow as pa

    missing = pa.nulls(len(seq), pa.list_(pa.string())) if unset is None else unset
    return [pa.repeat(pa.scalar(verb), len(seq)), seq, missing]


def _unset(fields: Sequence[Field], cells: list[Cells]) -> pa.Array[Any] | None:
    """Return, for each row, the names of the columns that did not arrive; None where all did."""
    import numpy as np
    import pyarrow as pa

    partly = [(field.name, one.unset) for field, one in zip(fields, cells, strict=True) if one.unset is not None]
    if not partly:
        return None
    masks: Any = np.stack([mask for _, mask in partly], axis=1)
    offsets: Any = np.concatenate(([0], np.cumsum(masks.sum(axis=1)))).astype(np.int32)
    which: Any = np.nonzero(masks)[1]
    return pa.ListArray.from_arrays(offsets, pa.array([name for name, _ in partly]).take(which))
