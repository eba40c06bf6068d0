"""The scanners: they count the records of regular bytes at the speed of memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signalroom.records.careful import CsvReader, careful_lines, split
from signalroom.records.encoding import Detective

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Places = npt.NDArray[np.intp]

LONGEST_LINE = 2_000_000
"""Bytes of a line that DuckDB's CSV reader takes; a longer one needs the careful reader."""
LONGEST_JSON_LINE = 16_000_000
"""Bytes of a line that DuckDB's JSON reader takes."""

_BLOCK = 256 * 1024  # bytes looked at together: they and their masks stay in the second-level cache
_QUOTE, _LF, _CR = 34, 10, 13


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scanner found.

    Attributes:
        rows: Records, the header left out; final where ``exact``.
        header: The header's fields as spelt; empty for JSON Lines. Final where ``exact``.
        encoding: ``utf-8``, ``utf-8-sig``, ``utf-16``, ``cp1252`` or what was declared. Regular text is UTF-8.
        irregular: The bytes need the careful reader.
        exact: False where only the careful reader can tell where records end: call ``recount``.
    """

    rows: int
    header: tuple[str, ...]
    encoding: str
    irregular: bool
    exact: bool = True


def recount(scan: Scan, chunks: Iterable[bytes], *, delimiter: str | None) -> Scan:
    """Return ``scan`` with the careful reader's count and header.

    Args:
        scan: What the scanner said.
        chunks: The same decompressed bytes again.
        delimiter: Field separator of a CSV file; None for JSON Lines.
    """
    if delimiter is None:
        rows = sum(1 for _ in careful_lines(chunks, encoding=scan.encoding))
        return dataclasses.replace(scan, rows=rows, exact=True)
    reader = CsvReader(chunks, scan.encoding, delimiter)
    rows = sum(1 for _ in reader.records())
    return dataclasses.replace(scan, rows=rows, header=tuple(reader.header), exact=True)


class _Scanner:
    """What both scanners share: the first bytes, the encoding, the place in the file."""

    def __init__(self, encoding: str) -> None:
        import numpy as np

        self._np: Any = np
        self._text = Detective(encoding)
        self._first: bytes | None = b""  # held back until there are enough to see a byte order mark
        self._total = 0  # bytes seen before this chunk
        self._rough = False  # needs the careful reader
        self._lost = False  # and only it can count

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._first is not None:
            self._first += chunk
            if len(self._first) < 4:
                return
            chunk = self._begin()
        if chunk:
            if self._text.bytewise:
                self._text.feed(chunk)
                self._rough |= b"\0" in chunk
                self._scan(chunk)
            self._total += len(chunk)

    def _begin(self) -> bytes:
        head, self._first = self._first or b"", None
        return self._text.begin(head)

    def _end(self) -> None:
        if self._first is not None:
            rest = self._begin()
            if rest:
                self.feed(rest)

    def _scan(self, chunk: bytes) -> None:
        raise NotImplementedError


class LineScanner(_Scanner):
    """Counts the lines of a JSON Lines file that are not blank.

    Args:
        encoding: Declared encoding; empty lets the bytes say.
    """

    def __init__(self, encoding: str = "") -> None:
        super().__init__(encoding)
        self._rows = 0
        self._line = 0  # where the current line began
        self._written = False  # the current line holds something

    def finish(self) -> Scan:
        """Return what was found, once all bytes were fed."""
        self._end()
        encoding, plain = self._text.result()
        if not self._text.bytewise:
            return Scan(0, (), encoding, irregular=True, exact=False)
        return Scan(self._rows + self._written, (), encoding, irregular=self._rough or not plain)

    def _scan(self, chunk: bytes) -> None:
        np = self._np
        data: Bytes = np.frombuffer(chunk, np.uint8)
        start = 0
        for low in range(0, len(chunk), _BLOCK):
            ends: Places = np.flatnonzero(data[low : low + _BLOCK] == _LF) + low
            if not len(ends):
                continue
            first = int(ends[0])
            self._rows += self._written or not _blank(chunk[start:first])
            self._rough |= self._total + first - self._line > LONGEST_JSON_LINE
            self._rows += len(ends) - 1
            # a record never begins with white space, so few lines are looked at one by one
            for place in np.flatnonzero(data[ends[:-1] + 1] <= 32):
                self._rows -= _blank(chunk[ends[place] : ends[place + 1]])
            start = int(ends[-1]) + 1
            self._line, self._written = self._total + start, False
        self._written = self._written or not _blank(chunk[start:])


def _blank(line: bytes) -> bool:
    return not line.strip(b" \t\r\n")


class CsvScanner(_Scanner):
    """Counts the records of a CSV file.

    Args:
        delimiter: One ASCII character.
        encoding: Declared encoding; empty lets the bytes say.
    """

    def __init__(self, delimiter: str = ",", encoding: str = "") -> None:
        super().__init__(encoding)
        self._delimiter = delimiter
        self._before: Any = self._np.zeros(256, bool)  # what may stand before an opening quote
        self._after: Any = self._np.zeros(256, bool)  # what may stand after a closing quote
        self._before[[ord(delimiter), _LF, _QUOTE]] = True
        self._after[[ord(delimiter), _LF, _CR, _QUOTE]] = True
        self._line = 0  # where the current line began
        self._inside = 0  # 1 while a quote is open
        self._last = _LF  # the byte before this chunk
        self._closed = False  # that byte was a closing quote
        self._ends = self._crlf = self._blank = 0
        self._between = 0  # delimiters outside quotes
        self._head: bytearray | None = bytearray()  # all bytes, until the header ends
        self._header = b""

    def finish(self) -> Scan:
        """Return what was found, once all bytes were fed."""
        self._end()
        encoding, plain = self._text.result()
        if not self._text.bytewise:
            return Scan(0, (), encoding, irregular=True, exact=False)
        self._lost |= bool(self._inside) or (self._last == _CR)
        if self._head is not None:
            self._header, self._head = bytes(self._head), None
        header = self._fields(encoding)
        mixed = 0 < self._crlf < self._ends
        rough = self._rough or self._lost or mixed or not plain or (self._blank > 0 and len(header) == 1)
        lines = self._ends + (self._total > self._line) - self._blank
        # DuckDB forgives a record one field more than the header has, when that is empty; the law does not
        rough |= bool(header) and self._between != lines * (len(header) - 1)
        return Scan(max(lines - 1, 0), header, encoding, irregular=rough, exact=not self._lost)

    def _fields(self, encoding: str) -> tuple[str, ...]:
        line = self._header.removesuffix(b"\r")
        try:
            text = line.decode("utf-8" if encoding == "utf-8-sig" else encoding)  # its mark was taken off before
        except UnicodeDecodeError:
            text = "\0"
        self._lost |= "\0" in text  # the careful reader knows how to spell it
        return tuple(name or "" for name in split(text, self._delimiter)[0]) if line else ()

    def _scan(self, chunk: bytes) -> None:
        np = self._np
        data: Bytes = np.frombuffer(chunk, np.uint8)
        lone = self._last == _CR and chunk[0] != _LF and not self._inside
        if lone or (self._closed and not self._after[chunk[0]]):
            self._lost = True
        self._closed = False
        returns = b"\r" in chunk
        if self._head is not None:
            self._head += chunk
            if len(self._head) > LONGEST_LINE + len(chunk):
                self._head, self._lost = None, True
        for low in range(0, len(chunk), _BLOCK):
            self._block(data, low, min(low + _BLOCK, len(chunk)), returns=returns)
        self._last = chunk[-1]

    def _block(self, data: Bytes, low: int, high: int, *, returns: bool) -> None:
        """Count the records of one block; places are relative to the chunk."""
        np = self._np
        # a quote and a line feed differ in two bits: one pass finds both (and 0x02 and '*', dropped below)
        found: Places = np.flatnonzero((data[low:high] & 0xD7) == 2)
        if not len(found) and not returns:
            self._count_between(data[low:high], found, self._inside)
            return
        if low:
            found += low
        values = data[found]
        ends: Places = found[values == _LF]
        quotes: Places = found[values == _QUOTE]
        inside = self._inside
        self._count_between(data[low:high], quotes - low, inside)
        if len(quotes):
            self._check_quotes(data, quotes, inside)
            outside = ends[((quotes.searchsorted(ends) + inside) & 1) == 0]
            self._inside = (inside + len(quotes)) & 1
        else:
            outside = ends[:0] if inside else ends
        if returns:
            self._check_returns(data, low, high, ends, quotes, inside)
        if len(outside):
            self._check_lines(data, outside, returns=returns)

    def _count_between(self, block: Bytes, quotes: Places, inside: int) -> None:
        """Count the delimiters of one block that stand outside quotes."""
        np = self._np
        marks = block == ord(self._delimiter)
        if not len(quotes):
            self._between += 0 if inside else int(np.count_nonzero(marks))
            return
        # each quoted stretch of the block, one that began before it or ends after it included
        edges = np.zeros(len(quotes) + inside + ((len(quotes) + inside) & 1), np.intp)
        edges[inside : inside + len(quotes)] = quotes
        if (len(quotes) + inside) & 1:
            edges[-1] = len(block)
        starts = edges[0::2]
        lengths = edges[1::2] - starts
        quoted = int(lengths.sum())
        if quoted > len(block) // 4:
            places: Places = np.flatnonzero(marks | (block == _QUOTE))
            turns = block[places] == _QUOTE
            parity = np.cumsum(turns, dtype=np.int32) & 1
            self._between += int(np.count_nonzero((parity == inside) & ~turns))
            return
        # little is quoted: count all, and take off what is found in the quoted stretches
        within = np.repeat((starts - lengths.cumsum() + lengths).astype(np.int32), lengths)
        within += np.arange(quoted, dtype=np.int32)
        self._between += int(np.count_nonzero(marks) - np.count_nonzero(marks[within]))

    def _check_quotes(self, data: Bytes, quotes: Places, inside: int) -> None:
        """Find a quote where none may stand; a doubled quote closes and opens again."""
        opening, closing = quotes[inside::2], quotes[1 - inside :: 2]
        if len(opening):
            if opening[0] == 0:
                self._lost |= not self._before[self._last]
                opening = opening[1:]
            self._lost |= not self._before[data[opening - 1]].all()
        if len(closing):
            if closing[-1] == len(data) - 1:
                self._closed = True
                closing = closing[:-1]
            self._lost |= not self._after[data[closing + 1]].all()

    def _check_returns(self, data: Bytes, low: int, high: int, ends: Places, quotes: Places, inside: int) -> None:
        """Find a carriage return outside quotes that no line feed follows."""
        np = self._np
        marks = data[low:high] == _CR
        within = ends[1:] if len(ends) and ends[0] == low else ends  # a pair cut by the block's edge has its CR before
        if np.count_nonzero(marks) == np.count_nonzero(data[within - 1] == _CR):
            return
        places: Places = np.flatnonzero(marks) + low
        if places[-1] == len(data) - 1:
            places = places[:-1]  # the next chunk says what follows
        alone = places[data[places + 1] != _LF]
        self._lost |= bool((((quotes.searchsorted(alone) + inside) & 1) == 0).any())

    def _check_lines(self, data: Bytes, outside: Places, *, returns: bool) -> None:
        """Count line ends outside quotes, empty lines and lines that end in CR LF."""
        np = self._np
        first = int(outside[0])
        if self._head is not None:
            self._header, self._head = bytes(self._head[: self._total + first]), None
            self._lost |= not self._header.removesuffix(b"\r")  # the header is a later line
        starts = np.empty_like(outside)
        starts[0] = self._line - self._total
        np.add(outside[:-1], 1, out=starts[1:])
        length = outside - starts
        self._rough |= bool(length[0] > LONGEST_LINE)
        ended = length == 0
        if returns or self._last == _CR:
            crlf = data[outside - 1] == _CR
            if first == 0:
                crlf[0] = self._last == _CR
            self._crlf += int(np.count_nonzero(crlf))
            ended |= (length == 1) & crlf
        self._blank += int(np.count_nonzero(ended))
        self._ends += len(outside)
        self._line = self._total + int(outside[-1]) + 1
