"""What a second slot tells of the same WAL: Postgres' own `test_decoding`, read by means that share nothing with ours.

Each change is compared whole: its place in the stream, its verb, the names and values of its columns, and which of them
did not arrive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from captured import floating, spell
from signalroom.stream import Batch

_LINE = re.compile(r"table (?P<tables>.+?): (?P<verb>INSERT|UPDATE|DELETE|TRUNCATE): (?P<rest>.*)", re.DOTALL)
_CELL = re.compile(
    r"""(?P<name>"(?:[^"]|"")*"|[^\s\["]+)\[(?P<type>[^:]*)\]:(?P<value>B?'(?:[^']|'')*'|\S+)(?: |$)""", re.DOTALL
)
_UNSET = "\0"  # which no text of Postgres holds
_SETTINGS = "-c logical_decoding_work_mem=64MB -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
Values = dict[str, str | None]


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One change of one table.

    Attributes:
        seq: Its WAL address.
        verb: ``delete``, ``truncate`` or ``upsert``.
        values: Name and value of each column that has one, by name; none of a truncate.
        absent: Columns that are null.
        unset: Columns that did not arrive.
    """

    seq: int
    verb: str
    values: tuple[tuple[str, str], ...]
    absent: frozenset[str]
    unset: frozenset[str]

    @classmethod
    def of(cls, seq: int, verb: str, row: Mapping[str, str | None], unset: frozenset[str] = frozenset()) -> Change:
        """Return a change; of a delete only what has a value matters."""
        values = sorted((name, value) for name, value in row.items() if value is not None and name not in unset)
        absent = frozenset(name for name, value in row.items() if value is None and name not in unset)
        return cls(seq, verb, tuple(values), absent if verb == "upsert" else frozenset(), unset)


class Oracle:
    """A slot of `test_decoding`, from the moment it is made."""

    def __init__(self, dsn: str, keys: Mapping[str, Sequence[str]], generated: frozenset[str] = frozenset()) -> None:
        self._dsn, self._keys, self._generated = dsn, keys, generated
        self.slot = "oracle_" + dsn.rpartition("/")[2]
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", [self.slot])

    def read(self) -> dict[str, list[Change]]:
        """Return what committed since the last call, by table."""
        with psycopg.connect(self._dsn, autocommit=True, options=_SETTINGS) as connection:
            # an open transaction's last record may be written in part, and the function would wait for the rest of it
            connection.execute("SELECT pg_logical_emit_message(true, 'flush', '')")
            rows = connection.execute(
                "SELECT lsn - '0/0'::pg_lsn, data FROM pg_logical_slot_get_changes(%s, NULL, NULL, 'include-xids', '0')",
                [self.slot],
            ).fetchall()
        found: dict[str, list[Change]] = {name: [] for name in self._keys}
        for lsn, line in rows:
            if line in ("BEGIN", "COMMIT") or line.startswith("message: "):
                continue
            told = _LINE.fullmatch(line)
            assert told, f"test_decoding wrote {line!r}"
            for table in told["tables"].split(", "):
                name = table.removeprefix("public.")
                if name in found:
                    found[name] += self._changes(int(lsn), name, told["verb"], told["rest"])
        return {name: sorted(changes) for name, changes in found.items()}

    def _changes(self, seq: int, table: str, verb: str, rest: str) -> list[Change]:
        if verb == "TRUNCATE":
            return [Change.of(seq, "truncate", {})]
        old, new = self._tuples(rest)
        if verb == "DELETE":
            return [Change.of(seq, "delete", new)]
        filled = {name: old.get(name) if value == _UNSET and name in old else value for name, value in new.items()}
        unset = frozenset(name for name, value in filled.items() if value == _UNSET)
        upsert = Change.of(seq, "upsert", filled, unset)
        moved = old and any(old.get(name) != filled[name] for name in self._keys[table])
        return [Change.of(seq, "delete", old), upsert] if moved else [upsert]

    def _tuples(self, rest: str) -> tuple[Values, Values]:
        """Return the old tuple, where one was told, and the new."""
        old: Values = {}
        if rest.startswith("old-key: "):
            old, rest = self._tuple(rest.removeprefix("old-key: "))
            assert rest.startswith("new-tuple: "), rest
        new, rest = self._tuple(rest.removeprefix("new-tuple: "))
        assert not rest, rest
        return old, new

    def _tuple(self, text: str) -> tuple[Values, str]:
        found: Values = {}
        at = 0
        while at < len(text) and not text.startswith("new-tuple: ", at):
            cell = _CELL.match(text, at)
            assert cell, text[at:]
            name = cell["name"].strip('"').replace('""', '"')
            if name not in self._generated:
                found[name] = _value(cell["type"], cell["value"], name)
            at = cell.end()
        return found, text[at:]


def _value(kind: str, text: str, name: str) -> str | None:
    if text == "null":
        return None
    if text == "unchanged-toast-datum":  # a text that reads so has quotes
        return _UNSET
    plain = text[text.index("'") + 1 : -1].replace("''", "'") if text.endswith("'") else text
    return spell(floating(name, plain)) if kind in ("real", "double precision") else plain


def told(batches: Sequence[Batch], names: Sequence[str]) -> dict[str, list[Change]]:
    """Return the changes that a read of the source yielded, by table."""
    found: dict[str, list[Change]] = {name: [] for name in names}
    for batch in batches:
        for row in batch.content.to_pylist():
            verb, seq, unset = row.pop("_op"), row.pop("_seq"), frozenset(row.pop("_unset") or [])
            values: dict[str, Any] = {name: spell(floating(name, value)) for name, value in row.items()}
            found[batch.table].append(Change.of(seq, verb, values, unset))
    return {name: sorted(changes) for name, changes in found.items()}
