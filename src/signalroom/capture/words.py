"""A batch of messages as words, and where each row has a column's value in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

PAD_BYTES = 32
"""Zeros after a batch's last byte, so that a gather of a whole word never leaves it."""


class Bytes:
    """A batch's bytes, seen as words that begin at any byte.

    Attributes:
        raw: The bytes, padded.
        size: Their number without the padding.
    """

    def __init__(self, parts: list[bytes]) -> None:
        import numpy as np

        parts.append(bytes(PAD_BYTES))
        self.raw = b"".join(parts)
        parts.pop()
        self.size = len(self.raw) - PAD_BYTES
        self.u1: Any = np.frombuffer(self.raw, np.uint8)

    def words(self, dtype: str) -> Any:
        """Return the batch as overlapping words of ``dtype``, one from each byte."""
        import numpy as np

        kind = np.dtype(dtype)
        return np.ndarray(len(self.raw) - kind.itemsize + 1, kind, self.raw, strides=(1,))


@dataclass(slots=True)
class Cells:
    """The cells of one column.

    Attributes:
        start: Where each value begins; 0 where there is none.
        length: Bytes of each value; 0 where there is none.
        valid: Whether there is a value.
        text: Whether the values are in text form.
        unset: Which cells are unchanged and were not sent; None where all arrived.
    """

    start: Ints
    length: Ints
    valid: Flags
    text: bool = False
    unset: Flags | None = None

    def at(self, rows: Ints) -> Cells:
        """Return the cells of some rows."""
        unset = None if self.unset is None else self.unset[rows]
        return Cells(self.start[rows], self.length[rows], self.valid[rows], self.text, unset)
