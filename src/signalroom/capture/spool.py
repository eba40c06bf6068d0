"""Transactions too large to wait for: kept in a file until the database says whether they happened."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from signalroom.errors import DataError

_FRAME = struct.Struct(">II")  # the subtransaction, the message's length
_WRITE_BYTES = 1 << 20


class Spool:
    """Messages of transactions in progress, one temporary file each, which vanish with this process.

    Args:
        folder: Where the files are; None for the system's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._files: dict[int, tempfile.SpooledTemporaryFile[bytes]] = {}
        self._aborted: dict[int, set[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all transactions: a new connection sends them again."""
        for transaction in list(self._files):
            self.drop(transaction, transaction)

    def add(self, transaction: int, part: int, message: bytes) -> None:
        """Keep one message of a transaction.

        Args:
            transaction: The transaction's id.
            part: The subtransaction's id; the transaction's own for what belongs to none.
            message: The message.
        """
        file = self._files.get(transaction)
        if file is None:
            file = tempfile.SpooledTemporaryFile(_WRITE_BYTES, dir=str(self._folder or "") or None)  # noqa: SIM115 - closed when it ends
            self._files[transaction] = file
        file.write(_FRAME.pack(part, len(message)) + message)

    def drop(self, transaction: int, part: int) -> None:
        """Forget a transaction that was rolled back, or one of its parts."""
        if part != transaction:
            self._aborted.setdefault(transaction, set()).add(part)
            return
        file = self._files.pop(transaction, None)
        self._aborted.pop(transaction, None)
        if file is not None:
            file.close()

    def committed(self, transaction: int) -> Iterator[bytes]:
        """Yield a transaction's messages in order, without those of its parts that were rolled back, and forget it.

        Raises:
            DataError: The file does not hold what was written to it.
        """
        file = self._files.get(transaction)
        aborted = self._aborted.get(transaction, set())
        if file is not None:
            file.seek(0)
            while head := file.read(_FRAME.size):
                part, size = _FRAME.unpack(head)
                message = file.read(size)
                if len(message) != size:
                    raise DataError("The spool of a large transaction is cut.", mend="Look whether the disk is full.")
                if part not in aborted:
                    yield message
        self.drop(transaction, transaction)
