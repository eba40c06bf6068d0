"""Text messages: one line, in the GSM alphabet where possible, so that a curly quote does not double the price."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

from signalroom.errors import DataError

MAX_CHARACTERS: Final = 1600
"""Longest body that gateways take (Twilio refuses more)."""

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("^{}\\[~]|€\f")
_GSM: Final = _BASIC | _EXTENDED
_FOLDED: Final = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2022\u00b7\u25cf", "*"),
    "\u2026": "...",
    "\u00d7": "x",
    "\u25b2": "+",
    "\u25bc": "-",
    "\u0131": "i",
    "\u0141": "L",
    "\u0142": "l",
    "\u00d0": "D",
    "\u00f0": "d",
    "\u0110": "D",
    "\u0111": "d",
}


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text travels.

    Attributes:
        encoding: ``GSM-7`` or ``UCS-2``.
        units: Septets, or UTF-16 units.
        parts: Messages it is cut into, and billed as.
    """

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    parts: int


def fold(text: str) -> str:
    """Return ``text`` on one line with typography replaced by its GSM-7 likeness.

    Dashes, quotes and accents outside the alphabet become plain ones, symbols and emoji are dropped; letters of
    other scripts stay, because a name must not vanish, and the message then travels as UCS-2.
    """
    return " ".join("".join(_fold(letter) for letter in unicodedata.normalize("NFC", text)).split())


def segments(text: str) -> Segments:
    """Return the encoding, units and parts of ``text`` (3GPP 23.038: 160/153 septets, 70/67 UTF-16 units)."""
    if all(letter in _GSM for letter in text):
        units, single, joined = [2 if letter in _EXTENDED else 1 for letter in text], 160, 153
        encoding: Literal["GSM-7", "UCS-2"] = "GSM-7"
    else:
        units, single, joined = [1 if ord(letter) < 0x10000 else 2 for letter in text], 70, 67
        encoding = "UCS-2"
    total = sum(units)
    if total <= single:
        return Segments(encoding, total, 1)
    parts, room = 1, joined
    for unit in units:
        # A pair (an escape and its letter, two surrogates) is never cut in two.
        if unit > room:
            parts, room = parts + 1, joined
        room -= unit
    return Segments(encoding, total, parts)


def fit(text: str, where: str) -> str:
    """Return the SMS that ``text`` becomes; raises DataError, naming ``where``, when it is empty or too long."""
    folded = fold(text)
    if not folded:
        raise DataError(f"{where} renders to nothing.", mend="Write at least a word.")
    if len(folded) > MAX_CHARACTERS:
        raise DataError(
            f"{where} renders to {len(folded)} characters; an SMS holds {MAX_CHARACTERS}.",
            mend="Shorten it, e.g. with |label(20) on names.",
        )
    return folded


def _fold(letter: str) -> str:
    if letter in _GSM:
        return letter
    if (simple := _FOLDED.get(letter)) is not None:
        return simple
    if letter.isspace():
        return " "
    base = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    if base and all(part in _GSM for part in base):
        return base
    # So: emoji and symbols; Sk: skin tones; Cf: joiners and direction marks; then the variation selectors. Other
    # marks (Mn) stay: they are the vowels of some scripts.
    dropped = unicodedata.category(letter) in {"So", "Sk", "Cf", "Me", "Cs", "Cn", "Co"}
    return "" if dropped or "\ufe00" <= letter <= "\ufe0f" else letter
