"""The one place where names and values become SQL text."""

from __future__ import annotations

from signalroom.errors import ConfigError

_MAX_NAME_BYTES = 63  # Postgres cuts longer names silently, so two of them could meet


def ident(name: str) -> str:
    """Return ``name`` as a quoted identifier; raises ConfigError for one no warehouse can hold."""
    if not name or "\0" in name or len(name.encode()) > _MAX_NAME_BYTES:
        raise ConfigError(
            f"{name[:80]!r} cannot be a table or column name: it must have 1 to {_MAX_NAME_BYTES} bytes.",
            mend="Give it a shorter name in the stream's pinned schema.",
        )
    return '"' + name.replace('"', '""') + '"'


def qualified(table: str) -> str:
    """Return ``schema.table`` with both parts quoted."""
    return ".".join(ident(part) for part in table.split(".", 1))


def literal(value: str | int | None) -> str:
    """Return ``value`` as an SQL literal that both dialects read alike."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def listed(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """Return quoted names separated by commas, each behind ``prefix`` (an alias with its dot)."""
    return ", ".join(prefix + ident(name) for name in names)
