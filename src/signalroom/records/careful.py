"""The careful readers: exact, slower, and able to say what is wrong with a record."""

from __future__ import annotations

import codecs
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from signalroom.records.encoding import bytewise, canonical, mark

LONGEST_RECORD = 64 << 20
"""Bytes after which a quote that is still open counts as never closed."""

_OPEN = "quote never closed"
_AFTER = "text after a closing quote"
_STRAY = "quote inside an unquoted field"
_RETURN = "carriage return in an unquoted field"


@dataclass(frozen=True, slots=True)
class Record:
    r"""One record: its fields, or what is wrong with it.

    Attributes:
        row: Number of the data record, from 1.
        raw: Its text; NUL and bytes that are not text are shown as ``\xNN``.
        fields: As many strings as the header has (one, the line itself, in JSON Lines); None where there is a
            problem. A field is None where it is null, which only a reader of empty texts tells.
        problem: A sentence, e.g. ``3 fields where the header has 5``; empty where there is none.
    """

    row: int
    raw: str
    fields: Sequence[str | None] | None
    problem: str


def careful(
    chunks: Iterable[bytes], *, encoding: str = "", delimiter: str = ",", empty_texts: bool = False
) -> Iterator[Record]:
    """Yield each record of a CSV file, the header left out.

    Args:
        chunks: The decompressed bytes, in order.
        encoding: As found by the scanner or declared; empty means UTF-8 unless a byte order mark says otherwise.
        delimiter: Field separator, one ASCII character.
        empty_texts: Tell an unquoted empty field, which is null, from a quoted one.
    """
    reader = CsvReader(chunks, encoding, delimiter, empty_texts=empty_texts)
    width = len(reader.header)
    for row, (body, text, fields, problem) in enumerate(reader.records(), 1):
        wrong = problem
        if not wrong:
            if len(fields) != width:
                wrong = f"{len(fields)} field{'' if len(fields) == 1 else 's'} where the header has {width}"
            elif "\0" in text:
                where = next(name for name, value in zip(reader.header, fields, strict=True) if "\0" in (value or ""))
                wrong = f"NUL in column {where!r}"
        if wrong:
            yield Record(row, shown(body, reader.encoding), None, wrong)
        else:
            yield Record(row, text, fields, "")


def careful_header(chunks: Iterable[bytes], *, encoding: str = "", delimiter: str = ",") -> tuple[str, ...]:
    """Return the fields of the first line that is not empty, as spelt; empty for an empty file."""
    return tuple(CsvReader(chunks, encoding, delimiter).header)


def careful_lines(chunks: Iterable[bytes], *, encoding: str = "") -> Iterator[Record]:
    """Yield each line of a JSON Lines file that is not blank."""
    source = _bytewise(chunks, encoding)
    row = 0
    for line in _lines(source.chunks, returns=False):
        body = line.strip(b" \t\r\n")
        if not body:
            continue
        row += 1
        text, problem = _text(body, source.encoding)
        problem = problem or ("NUL in the line" if "\0" in text else "")
        yield Record(row, text if not problem else shown(body, source.encoding), None if problem else [text], problem)


def shown(body: bytes, encoding: str) -> str:
    r"""Return ``body`` as text that any store can keep: NUL and bytes that are not text become ``\xNN``."""
    return body.decode(encoding, "backslashreplace").replace("\0", "\\x00")


class CsvReader:
    """The state machine. ``header`` is known once made; ``records`` yields the rest.

    Args:
        chunks: The decompressed bytes, in order.
        encoding: As found or declared.
        delimiter: Field separator.
        empty_texts: Tell an unquoted empty field, which is null, from a quoted one.
    """

    def __init__(self, chunks: Iterable[bytes], encoding: str, delimiter: str, *, empty_texts: bool = False) -> None:
        source = _bytewise(chunks, encoding)
        self.encoding = source.encoding
        self._delimiter = delimiter
        self._empty_texts = empty_texts
        returns, stream = _ends_in_returns(source.chunks)
        self._lines = _lines(stream, returns=returns)
        self._back: deque[bytes] = deque()
        self._found = self._read()
        self.header: list[str] = []
        first = next(self._found, None)
        if first is not None:
            body, _, fields, problem = first
            names = fields if not problem else shown(body, self.encoding).split(delimiter)
            self.header = [(name or "").replace("\0", "\\x00") for name in names]

    def records(self) -> Iterator[tuple[bytes, str, list[str | None], str]]:
        """Yield (bytes, text, fields, problem) of each record after the header; fields are empty on a problem."""
        return self._found

    def _read(self) -> Iterator[tuple[bytes, str, list[str | None], str]]:
        while (line := self._next()) is not None:
            if b'"' in line:
                yield self._quoted(line)
                continue
            body = _chomp(line)
            if not body:
                continue
            text, problem = _text(body, self.encoding)
            if not problem and b"\r" in body:
                problem = _RETURN
            fields: list[str | None] = []
            if not problem:
                _plain(fields, text, self._delimiter, empty_texts=self._empty_texts)
            yield body, text, fields, problem

    def _next(self) -> bytes | None:
        return self._back.popleft() if self._back else next(self._lines, None)

    def _quoted(self, line: bytes) -> tuple[bytes, str, list[str | None], str]:
        """Read a record that begins with ``line``, over as many lines as its quotes hold.

        Linear: an open line swallows lines with an even number of quotes only, and each of those, read again after
        a cut, ends by itself.
        """
        lines = [line]
        quotes, size = line.count(b'"'), len(line)
        head = _chomp(line)
        if quotes & 1 and split(_text(head, self.encoding)[0], self._delimiter)[1] == _OPEN:
            while quotes & 1 and size < LONGEST_RECORD and (more := self._next()) is not None:
                lines.append(more)
                quotes += more.count(b'"')
                size += len(more)
        body = _chomp(b"".join(lines)) if len(lines) > 1 else head
        text, wrong = _text(body, self.encoding)
        fields, problem = split(text, self._delimiter, empty_texts=self._empty_texts)
        if problem in {_OPEN, _AFTER, _STRAY}:
            # cut at the first line end: the lines after it are read again, on their own
            self._back.extendleft(reversed(lines[1:]))
            body = head
            text, wrong = _text(body, self.encoding)
            fields, problem = split(text, self._delimiter, literal=True, empty_texts=self._empty_texts)
        problem = wrong or problem
        return body, text, [] if problem else fields, problem


def split(
    text: str, delimiter: str, *, literal: bool = False, empty_texts: bool = False
) -> tuple[list[str | None], str]:
    """Split one record into fields; return them and a problem.

    Args:
        text: The record, without its line end.
        delimiter: Field separator.
        literal: Take a quote inside an unquoted field (``5" pipe``) as itself.
        empty_texts: Return an unquoted empty field, which is null, as None.
    """
    fields: list[str | None] = []
    at, size = 0, len(text)
    while True:
        quote = text.find('"', at)
        if quote < 0:
            return _plain(fields, text[at:], delimiter, empty_texts=empty_texts)
        if quote > at:
            stop = quote - 1
            if text[stop] != delimiter:
                if not literal:
                    return fields, _STRAY
                stop = text.find(delimiter, quote)
            run = text[at:] if stop < 0 else text[at:stop]
            fields, problem = _plain(fields, run, delimiter, empty_texts=empty_texts)
            if problem or stop < 0:
                return fields, problem
            at = stop + 1
            continue
        close = quote
        while True:
            close = text.find('"', close + 1)
            if close < 0:
                return fields, _OPEN
            if not text.startswith('"', close + 1):
                break
            close += 1
        fields.append(text[at + 1 : close].replace('""', '"'))
        at = close + 1
        if at == size:
            return fields, ""
        if text[at] != delimiter:
            return fields, _AFTER
        at += 1


def _plain(fields: list[str | None], run: str, delimiter: str, *, empty_texts: bool) -> tuple[list[str | None], str]:
    fields.extend((one or None for one in run.split(delimiter)) if empty_texts else run.split(delimiter))
    return fields, _RETURN if "\r" in run else ""


def _text(body: bytes, encoding: str) -> tuple[str, str]:
    """Decode; bytes that are no text stay as lone surrogates, so that fields can still be told apart."""
    try:
        return body.decode(encoding), ""
    except UnicodeDecodeError as error:
        return body.decode(encoding, "surrogateescape"), f"byte 0x{body[error.start]:02x} is not {encoding}"


def _chomp(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


@dataclass(frozen=True, slots=True)
class _Source:
    chunks: Iterator[bytes]
    encoding: str


def _bytewise(chunks: Iterable[bytes], encoding: str) -> _Source:
    """Return text whose quotes and line ends can be told from single bytes, without a byte order mark."""
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= 4:
            break
    name = canonical(encoding) if encoding else mark(head) or "utf-8"
    if name in {"utf-8", "utf-8-sig"}:
        return _Source(itertools.chain([head.removeprefix(codecs.BOM_UTF8)], stream), "utf-8")
    if bytewise(name):
        return _Source(itertools.chain([head], stream), name)
    return _Source(_transcoded(itertools.chain([head], stream), name), "utf-8")


def _transcoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield UTF-8; what cannot be decoded becomes bytes that are not UTF-8, so that its record is a problem."""
    wide = encoding.startswith(("utf-16", "utf-32"))
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if wide else "surrogateescape")
    try:
        first = True
        for chunk in chunks:
            text = decoder.decode(chunk)
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            yield text.encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        yield b"\xff"


def _ends_in_returns(chunks: Iterator[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Return whether the first line end is a lone CR, which says that all lines may end so, and all bytes again."""
    held: list[bytes] = []
    for chunk in chunks:
        held.append(chunk)
        after_return = held[-2:-1] and held[-2].endswith(b"\r")
        if after_return or b"\n" in chunk or b"\r" in chunk.removesuffix(b"\r"):
            break
    head = b"".join(held)
    feed, back = head.find(b"\n"), head.find(b"\r")
    lone = back >= 0 and (feed < 0 or feed > back + 1)
    return lone, itertools.chain([head], chunks)


def _lines(chunks: Iterator[bytes], *, returns: bool) -> Iterator[bytes]:
    """Yield physical lines with their ends: LF (CR before it stays), or with ``returns`` CR, LF and CR LF."""
    held: list[bytes] = []
    for chunk in chunks:
        held.append(chunk)
        if not returns:
            end = chunk.rfind(b"\n") + 1
            if end:
                held[-1] = chunk[:end]
                yield from (line + b"\n" for line in b"".join(held).split(b"\n")[:-1])
                held = [chunk[end:]]
        elif b"\n" in chunk or b"\r" in chunk or held[-2:-1] == [b"\r"]:
            found = b"".join(held).splitlines(keepends=True)
            held = [found.pop()] if not chunk.endswith(b"\n") else []
            if held[:1] and held[0].endswith(b"\r") and len(held[0]) > 1:
                held = [held[0][:-1], b"\r"]  # the next chunk says whether a LF belongs to it
            yield from found
    yield from b"".join(held).splitlines(keepends=True) if returns else [b"".join(held)]
