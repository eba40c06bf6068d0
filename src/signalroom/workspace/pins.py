"""Pinned schemas: ``schemas/<source>.<stream>.toml``, one column a line, kept in the team's git."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from signalroom.errors import ConfigError, nearest
from signalroom.stream import Column

_TYPES = ("text", "bigint", "double", "boolean", "date", "timestamp", "timestamptz", "json")
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEYS = ("type", "path", "format")
# Columns that the merge adds to every table or reads from a batch: a pinned one would shadow them.
_RESERVED = {"_load_id", "_loaded_at", "_client_id", "_source_ref", "_file_time", "_row", "_op", "_seq", "_unset"}
_MAX_PRECISION = 38


def pin_path(root: Path, source: str, stream: str) -> Path:
    """Return where the pinned schema of a stream is kept."""
    return root / "schemas" / f"{source}.{stream}.toml"


def read_pin(root: Path, source: str, stream: str) -> tuple[Column, ...]:
    """Return the pinned columns of a stream in file order; empty when nothing is pinned.

    Args:
        root: The workspace folder.
        source: Name of the source.
        stream: Name of the stream; of one of its tables, where it feeds several.

    Raises:
        ConfigError: The file cannot be read; the first problem with the count of the others.
    """
    columns, problems = inspect_pin(pin_path(root, source, stream))
    if problems:
        more = f" ({len(problems) - 1} more: `signalroom check` lists them all.)" if len(problems) > 1 else ""
        raise ConfigError(problems[0].message, mend=problems[0].mend + more)
    return columns


def inspect_pin(file: Path) -> tuple[tuple[Column, ...], list[ConfigError]]:
    """Return the columns of a pinned schema that are right, and every problem of the others."""
    title = f"schemas/{file.name}"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return (), []
    except tomllib.TOMLDecodeError as error:
        return (), [ConfigError(f"{title}: {error}.", mend="Mend the TOML.")]
    except (OSError, UnicodeDecodeError):
        return (), [ConfigError(f"{title}: the file cannot be read as UTF-8 text.", mend="Mend it or remove it.")]
    problems = [
        ConfigError(f"{title}: unknown key {key!r}.", mend=nearest(key, ["columns"]) or "It holds [columns] only.")
        for key in table
        if key != "columns"
    ]
    raw: Any = table.get("columns")
    if not isinstance(raw, Mapping) or not raw:
        problems.append(
            ConfigError(f"{title}: it pins no columns.", mend='Write [columns] and lines such as orders_id = "bigint".')
        )
        return (), problems
    columns: list[Column] = []
    for name, value in raw.items():
        try:
            columns.append(_column(str(name), value, title))
        except ConfigError as error:
            problems.append(error)
    return tuple(columns), problems


def write_pin(root: Path, source: str, stream: str, columns: Sequence[Column]) -> Path:
    """Write the pinned schema of a stream, whole or not at all, and return its file.

    Raises:
        ConfigError: There are no columns, or one of them could not be read back.
    """
    file = pin_path(root, source, stream)
    title = f"schemas/{file.name}"
    if not columns:
        raise ConfigError(f"{title}: there are no columns to pin.", mend="Sync the stream first.")
    lines = [f"# Pinned by `signalroom sync {source}.{stream} --pin`; edit it, git keeps its history.", "[columns]"]
    seen: set[str] = set()
    for column in columns:
        value: dict[str, str] = {"type": column.type}
        value.update({key: text for key in ("path", "format") if (text := getattr(column, key))})
        if column.name in seen:
            raise ConfigError(f"{title}.{column.name}: the column appears twice.", mend="Rename one of them.")
        seen.add(column.name)
        checked = _column(column.name, value, title)
        name = column.name if _BARE.fullmatch(column.name) else _quoted(column.name)
        inner = ", ".join(f"{key} = {_quoted(text)}" for key, text in {**value, "type": checked.type}.items())
        lines.append(f"{name} = {_quoted(checked.type)}" if len(value) == 1 else f"{name} = {{ {inner} }}")
    file.parent.mkdir(parents=True, exist_ok=True)
    # A reader never sees half a schema: half a schema would be a wrong one.
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    aside.replace(file)
    return file


def check_type(text: str, path: str) -> str:
    """Return a column type in its one spelling; raises ConfigError for a type the warehouse does not have."""
    spelt = text.strip().lower()
    if spelt in _TYPES:
        return spelt
    if found := _DECIMAL.fullmatch(spelt):
        precision, scale = int(found[1]), int(found[2])
        if 1 <= precision <= _MAX_PRECISION and scale <= precision:
            return f"decimal({precision},{scale})"
        raise ConfigError(
            f"{path}: {text!r} cannot be stored.",
            mend=f"Use decimal(p,s) with p from 1 to {_MAX_PRECISION} and s no greater than p.",
        )
    mend = f"{nearest(spelt, [*_TYPES, 'decimal(p,s)'])} Types are: {', '.join(_TYPES)}, decimal(p,s).".strip()
    raise ConfigError(f"{path}: unknown type {text!r}.", mend=mend)


def _column(name: str, value: Any, title: str) -> Column:
    path = f"{title}.{name}"
    if _NAME.fullmatch(name) is None or len(name) > 63:
        raise ConfigError(
            f"{path}: a column is named in lower snake case, 63 characters at most.",
            mend='Rename it and give its own spelling as path = "...".',
        )
    if name in _RESERVED:
        raise ConfigError(f"{path}: the name is taken by a control column.", mend="Choose another name.")
    table: Any = {"type": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: expected a type or a table.", mend=f'Write {name} = "text".')
    for key, item in table.items():
        if key not in _KEYS:
            mend = nearest(key, _KEYS) or f"It may have: {', '.join(_KEYS)}."
            raise ConfigError(f"{path}: unknown key {key!r}.", mend=mend)
        if not isinstance(item, str):
            raise ConfigError(f"{path}.{key}: expected str, got {type(item).__name__}.", mend="Put it in quotes.")
    if "type" not in table:
        raise ConfigError(f"{path}: the type is missing.", mend='Add type = "text" or another type.')
    kind = check_type(table["type"], f"{path}.type")
    pattern: str = table.get("format", "")
    if pattern and kind not in {"date", "timestamp", "timestamptz"}:
        raise ConfigError(f"{path}.format: a {kind} has no format.", mend="Remove it, or make it a date or a time.")
    if pattern.startswith("epoch@"):
        from signalroom.workspace.jobs import check_zone

        check_zone(pattern.removeprefix("epoch@"), f"{path}.format")
    elif pattern and "%" not in pattern:
        raise ConfigError(
            f"{path}.format: {pattern!r} is no date format.",
            mend='Use a strptime pattern ("%m/%d/%Y") or epoch@ZONE.',
        )
    return Column(name, kind, table.get("path", ""), pattern)


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a subset of TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
