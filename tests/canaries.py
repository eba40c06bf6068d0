"""Secrets that are found wherever they turn up: canaries, their spellings, and a search through all that a job left."""

from __future__ import annotations

import base64
import gzip
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import zstandard


def spellings(canary: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each form a secret could leak in."""
    body = canary.encode()
    yield "plain", body
    yield "reversed", body[::-1]
    yield "hex", body.hex().encode()
    yield "HEX", body.hex().upper().encode()
    yield "quoted", quote(canary, safe="").encode()
    yield "quoted in lower case", quote(canary, safe="").lower().encode()
    yield "quoted for a form", quote_plus(canary).encode()
    for ahead in range(3):
        # Only letters that the secret alone decides: those before and after depend on its neighbours.
        text = base64.b64encode(b"\0" * ahead + body)
        inner = text[(ahead * 8 + 5) // 6 : (ahead + len(body)) * 8 // 6]
        yield f"base64 after {ahead}", inner
        yield f"base64url after {ahead}", inner.replace(b"+", b"-").replace(b"/", b"_")


def find(canaries: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Return one line for each canary that is somewhere, in whatever form."""
    return [
        f"{name} ({form}) is in {place}"
        for name, canary in canaries.items()
        for form, text in set(spellings(canary))
        for place, content in places.items()
        if text in content
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """Return path -> content of every file, packed ones unpacked too, and databases also as their statements."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name, content = str(path.relative_to(folder)), path.read_bytes()
        found[name] = content
        if path.suffix == ".zst":
            unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            found[f"{name} (unpacked)"] = unpacked
        elif path.suffix == ".gz":
            found[f"{name} (unpacked)"] = gzip.decompress(content)
        elif path.suffix == ".sqlite":
            connection = sqlite3.connect(path)
            found[f"{name} (dumped)"] = "\n".join(connection.iterdump()).encode()
            connection.close()
    return found
