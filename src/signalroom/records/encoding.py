"""Which encoding text is in, told from its bytes as they go by."""

from __future__ import annotations

import codecs
import re

_MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_BYTEWISE = re.compile(r"utf-8(-sig)?|ascii|cp125\d|iso8859-\d+|mac-roman|koi8-[rut]|cp(437|850|852|858|866)")
_UTF8 = {"utf-8", "utf-8-sig"}


def canonical(encoding: str) -> str:
    """Return Python's name of ``encoding``; raises ValueError for one it does not know."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"The encoding {encoding!r} is not known: use a name such as utf-8 or cp1252.") from None


def bytewise(encoding: str) -> bool:
    """Return whether quotes, delimiters and line ends of ``encoding`` can be told from single bytes.

    True for UTF-8 and the single-byte encodings that extend ASCII; other text is transcoded before it is split.
    """
    return _BYTEWISE.fullmatch(encoding) is not None


def mark(head: bytes) -> str:
    """Return the encoding that a byte order mark at the start of ``head`` announces, or an empty string."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""


class Detective:
    """Watches the bytes of one text go by and says which encoding they are in.

    A byte order mark decides, then what was declared. Otherwise text is UTF-8; bytes that are not UTF-8 make it
    cp1252 when the whole of it holds no valid multi-byte sequence, and broken UTF-8 when it does.

    Args:
        declared: Encoding somebody declared; empty lets the bytes say.
    """

    def __init__(self, declared: str) -> None:
        self._declared = canonical(declared) if declared else ""
        self._mark = ""
        self._valid = True
        self._ascii = True
        self._multibyte = False
        self._tail = b""

    @property
    def bytewise(self) -> bool:
        """Whether this text can be split by its bytes; known after ``begin``."""
        return bytewise(self._mark or self._declared or "utf-8")

    def begin(self, head: bytes) -> bytes:
        """Take the first bytes (four, if there are so many) and return them without a UTF-8 mark."""
        found = mark(head)
        if not self._declared or bytewise(self._declared) or self._declared.startswith(found[:6]):
            self._mark = found
        return head[3:] if self._mark == "utf-8-sig" else head

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if not self._tail and chunk.isascii():
            return
        self._ascii = False
        if self._declared and self._declared not in _UTF8 and not self._mark:
            return
        data = self._tail + chunk if self._tail else chunk
        if self._valid:
            try:
                text, used = codecs.utf_8_decode(data, "strict", False)
            except UnicodeDecodeError:
                self._valid = False
            else:
                self._multibyte = self._multibyte or len(text) < used
                self._tail = data[used:]
                return
        self._multibyte = self._multibyte or _MULTIBYTE.search(data) is not None
        self._tail = data[-3:]

    def result(self) -> tuple[str, bool]:
        """Return the encoding, and whether any reader of UTF-8 takes the text as it is."""
        valid = self._valid and not self._tail
        if self._mark or self._declared in _UTF8:
            return self._mark or "utf-8", valid and self.bytewise
        if self._declared:
            return ("utf-8", True) if self._ascii and self.bytewise else (self._declared, False)
        if valid:
            return "utf-8", True
        return ("utf-8" if self._multibyte else "cp1252"), False
