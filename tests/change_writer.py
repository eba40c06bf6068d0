"""What applications do to their tables, drawn: every type and its strangest values, moves, rollbacks, truncates, new columns.

A `Deed` is one thing that one of two connections does. Each connection has keys of its own, so that neither waits for the
other's rows; who needs a whole table lets the other commit first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from hypothesis import strategies as st

TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok');
    CREATE DOMAIN cents AS numeric(10,2);
    CREATE DOMAIN pence AS cents CHECK (value >= -99);
    CREATE TYPE pair AS (a int, b text)"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A table that is written to: its key's columns, the others' SQL types, and literals of what each may hold."""

    key: tuple[str, ...]
    columns: dict[str, str]
    values: dict[str, st.SearchStrategy[str]]
    full: bool = False


def quoted(text: str) -> str:
    """Return a literal."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def integers(bits: int) -> st.SearchStrategy[str]:
    """Return literals of integers, their limits among them."""
    most = 2 ** (bits - 1)
    return st.one_of(st.sampled_from([-most, most - 1, 0, -1]), st.integers(-most, most - 1)).map(lambda n: f"'{n}'")


def decimals(digits: int, scale: int) -> st.SearchStrategy[str]:
    """Return literals of numerics of a declared precision and scale, NaN among them."""
    numbers = st.integers(-(10**digits) + 1, 10**digits - 1).map(lambda n: f"'{n}e-{scale}'")
    return st.one_of(numbers, st.sampled_from(["'NaN'", "'0'", f"'-0.{'0' * (scale - 1)}1'"]))


_letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_text = st.one_of(st.sampled_from(["", "null", "a'b", "\\", "unchanged-toast-datum", '"', "\t\n", "é€\U0001f600"]), st.text(_letters, max_size=15))  # fmt: skip
_free = st.builds(
    lambda sign, whole, part: f"'{sign}{whole}{part}'",
    st.sampled_from(["", "-"]),
    st.one_of(st.integers(0, 99_999), st.integers(0, 10**45)),
    st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=12).map(lambda text: f".{text}")),
)
_days = st.integers(-1_721_000, 700_000).map(lambda n: f"(date '2000-01-01' + {n})")
_moments = st.builds(lambda day, us: f"({day} + {us} * interval '1 us')", _days, st.integers(0, 86_399_999_999))
_always = st.sampled_from(
    ["'infinity'", "'-infinity'", "'0001-12-31 BC'", "'9999-12-31'", "'10000-01-01'", "'0001-01-01'"]
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(_letters, max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(_letters, max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
).map(lambda value: quoted(json.dumps(value)))
_large = st.builds(
    lambda text, n: f"repeat({quoted(text)}, {n})", st.text("abcé", min_size=1, max_size=3), st.integers(800, 3000)
)
_bytes = st.binary(max_size=20).map(lambda raw: f"'\\x{raw.hex()}'")

PLAIN = Kind(
    ("id",),
    {"id": "bigint", "i2": "int2", "i4": "int4", "i8": "int8", "f4": "real", "f8": "double precision", "n": "numeric",
     "n2": "numeric(12,2)", "n3": "numeric(38,10)", "b": "boolean", "tx": "text", "vc": "varchar(20)", "ch": "char(5)",
     "by": "bytea", "u": "uuid", "d": "date", "ts": "timestamp", "tz": "timestamptz", "j": "json", "jb": "jsonb",
     "m": "mood", "c": "cents", "p": "pence", "big": "text", "blob": "bytea"},
    {"i2": integers(16), "i4": integers(32), "i8": integers(64),
     "f4": st.floats(width=32).map(lambda n: f"'{n!r}'"), "f8": st.floats().map(lambda n: f"'{n!r}'"),
     "n": st.one_of(_free, st.sampled_from(["'NaN'", "'Infinity'", "'-Infinity'", "'1e-30'", "'1e40'", "'0.00'"])),
     "n2": decimals(12, 2), "n3": decimals(38, 10), "b": st.sampled_from(["true", "false"]), "tx": _text.map(quoted),
     "vc": _text.map(lambda text: quoted(text[:20])), "ch": _text.map(lambda text: quoted(text[:5])), "by": _bytes,
     "u": st.uuids().map(lambda one: f"'{one}'"), "d": st.one_of(_days, _always), "ts": st.one_of(_moments, _always),
     "tz": st.one_of(_moments, _always), "j": _json, "jb": _json, "m": st.sampled_from(["'sad'", "'so so'", "'ok'"]),
     "c": decimals(8, 2), "p": st.sampled_from(["'NaN'", "-99", "1.05"]), "big": _large,
     "blob": _large.map(lambda text: f"{text}::bytea")},
)  # fmt: skip
STRANGE = Kind(
    ("k", "id"),
    {"k": "text", "id": "int", "a": "int[]", "ta": "text[]", "da": "date[]", "r": "int4range", "nr": "numrange",
     "tr": "tstzrange", "q": "pair", "ip": "inet", "net": "cidr", "mac": "macaddr", "iv": "interval", "tm": "time",
     "tmz": "timetz", "bits": "bit(5)", "vb": "varbit", "pt": "point", "ts": "tsvector", "ja": "jsonb[]", "n2": "numeric(12,2)",
     "big": "text[]", "f8": "double precision", "b": "boolean"},
    {"a": st.sampled_from(["'{}'", "'{1,null,3}'", "'{{1,2},{3,4}}'", "'[2:3]={5,6}'"]),
     "ta": st.lists(st.one_of(st.none(), _text), max_size=3).map(
         lambda held: "ARRAY[" + ", ".join("null" if one is None else quoted(one) for one in held) + "]::text[]"),
     "da": st.sampled_from(["'{infinity,0044-03-15 BC}'", "'{}'"]), "r": st.sampled_from(["'empty'", "'[1,5)'", "'(,)'"]),
     "nr": st.sampled_from(["'[NaN,NaN]'", "'(1.10,2]'", "'[-Infinity,0)'"]),
     "tr": st.sampled_from(["'[2026-01-01 00:00:00+02,infinity)'", "'(,0044-03-15 10:00 BC]'"]),
     "q": _text.map(lambda text: f"row(1, {quoted(text)})"), "ip": st.sampled_from(["'10.0.0.1/8'", "'::1'", "'10.0.0.1'"]),
     "net": st.sampled_from(["'10.0.0.0/8'", "'2001:db8::/32'"]), "mac": st.just("'08:00:2b:01:02:03'"),
     "iv": st.sampled_from(["'1 mon -2 days 03:04:05.600001'", "'-1 year'", "'0'", "'178000000 years'"]),
     "tm": st.sampled_from(["'24:00'", "'00:00:00.000001'"]), "tmz": st.sampled_from(["'23:59:60+15:59'", "'00:00-08'"]),
     "bits": st.sampled_from(["B'10101'", "B'00000'"]), "vb": st.sampled_from(["B''", "B'1'"]),
     "pt": st.sampled_from(["'(1.5,NaN)'", "'(-Infinity,1e-300)'"]), "ts": st.sampled_from(["'a:1 ''b c'':2A'", "''"]),
     "ja": _json.map(lambda one: f"ARRAY[{one}::jsonb, NULL]"), "n2": decimals(12, 2),
     "big": _large.map(lambda text: f"ARRAY[{text}]"), "f8": st.floats().map(lambda n: f"'{n!r}'"),
     "b": st.sampled_from(["true", "false"])},
)  # fmt: skip
WHOLE = Kind(
    ("id",),
    {"id": "int", "v": "int", "tx": "text", "big": "text", "blob": "bytea"},
    {"v": integers(32), "tx": _text.map(quoted), "big": _large, "blob": _large.map(lambda text: f"{text}::bytea")},
    full=True,
)
KINDS = {"plain": PLAIN, "strange": STRANGE, "whole": WHOLE, "other": WHOLE}
"""The tables, by name; ``other`` is never captured. Every one has a counter ``hits`` and a column ``gen`` that is generated."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing done: ``what``, by which connection, to which table, to which row, with which values."""

    what: str
    by: int
    table: str
    row: int
    new: int
    sets: tuple[tuple[str, str], ...]


_WHATS = [*["set"] * 8, *["touch"] * 4, *["move"] * 3, *["delete"] * 3, "all", "many", "copy", "truncate", "truncate all",
          "savepoint", "rollback to", "release", *["commit"] * 5, *["rollback"] * 2, "add", "widen", "full", *["sync"] * 2,
          "sync again"]  # fmt: skip


@st.composite
def deeds(draw: st.DrawFn, tables: Sequence[str]) -> Deed:
    """Return one deed to one of ``tables``."""
    table = draw(st.sampled_from(tables))
    kind = KINDS[table]
    what = draw(st.sampled_from(_WHATS))
    names = draw(st.lists(st.sampled_from(sorted(kind.values)), max_size=6, unique=True)) if what == "set" else []
    sets = tuple((name, draw(st.one_of(st.just("NULL"), kind.values[name], kind.values[name]))) for name in names)
    return Deed(what, draw(st.integers(0, 1)), table, draw(st.integers(0, 4)), draw(st.integers(0, 4)), sets)


def ddl(table: str) -> list[str]:
    """Return the statements that make one of ``KINDS``, with ten rows of large values."""
    kind = KINDS[table]
    columns = ", ".join(f"{name} {sql}" for name, sql in kind.columns.items())
    created = (
        f"CREATE TABLE {table} ({columns}, hits int DEFAULT 0, PRIMARY KEY ({', '.join(kind.key)}), "
        "gen int GENERATED ALWAYS AS (id * 2) STORED, gone int)"
    )
    large = [name for name in ("big", "blob") if name in kind.columns]
    made = [created, f"ALTER TABLE {table} DROP gone"]
    made += [f"ALTER TABLE {table} ALTER {name} SET STORAGE EXTERNAL" for name in large]
    if kind.full:
        made.append(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
    texts = {
        "text": "repeat(g::text, 3000)",
        "bytea": "repeat('ab', 2000)::bytea",
        "text[]": "ARRAY[repeat('x', 3000)]",
    }
    keys = "'k''' || g, g" if "k" in kind.key else "g"
    values = "".join(f", {texts[kind.columns[name]]}" for name in large)
    filled = (
        f"INSERT INTO {table} ({', '.join([*kind.key, *large])}) SELECT {keys}{values} FROM generate_series(0, 9) g"
    )
    return [*made, filled]


@dataclass(slots=True)
class Writer:
    """Does deeds to the tables of a database, by two connections."""

    dsn: str
    links: list[psycopg.Connection] = field(default_factory=list[psycopg.Connection])
    marks: list[int] = field(default_factory=lambda: [0, 0])
    whole: int | None = None  # who holds a whole table
    added: int = 0
    committed: int = 0
    rolled_back: int = 0

    def __post_init__(self) -> None:
        self.links += [psycopg.connect(self.dsn), psycopg.connect(self.dsn)]

    def close(self) -> None:
        """Roll back what is open."""
        for link in self.links:
            link.close()

    def do(self, deed: Deed) -> None:
        """Do one deed; the other connection ends first where it would be in the way."""
        if deed.what in ("truncate", "truncate all", "add", "widen", "full") or self.whole == 1 - deed.by:
            self.end(1 - deed.by)
        if deed.what in ("commit", "rollback"):
            self.end(deed.by, back=deed.what == "rollback")
            return
        for statement in self._own(deed) or self._statements(deed):
            self.links[deed.by].execute(statement)
        if deed.what in ("truncate", "truncate all", "add", "widen", "full"):
            self.whole = deed.by
        if deed.what == "copy":
            self._copy(deed)

    def end(self, by: int, *, back: bool = False) -> None:
        """End a connection's transaction."""
        link = self.links[by]
        if link.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.rolled_back, self.committed = self.rolled_back + back, self.committed + (not back)
        (link.rollback if back else link.commit)()
        self.marks[by] = 0
        self.whole = None if self.whole == by else self.whole

    def _statements(self, deed: Deed) -> list[str]:
        table, row, new = deed.table, deed.row * 2 + deed.by, deed.new * 2 + deed.by
        kind = KINDS[table]
        strange = "k" in kind.key
        one = f"id = {row}" + (f" AND k = 'k''{row}'" if strange else "")
        keyed = f"{row}, 'k''{row}'" if strange else f"{row}"
        names = ("id, k" if strange else "id") + "".join(f", {name}" for name, _ in deed.sets)
        literals = keyed + "".join(f", {literal}" for _, literal in deed.sets)
        updates = ", ".join(f"{name} = excluded.{name}" for name, _ in deed.sets) or "hits = 7"
        mine = f"id % 2 = {deed.by}"
        moved = f"id = {new}" + (f", k = 'k''{new}'" if strange else "")
        taken = f"NOT EXISTS (SELECT FROM {table} WHERE id = {new})"
        key = "k, id" if strange else "id"
        prefix = "'m' || g, " if strange else ""
        return {
            "set": [f"INSERT INTO {table} ({names}) VALUES ({literals}) ON CONFLICT ({key}) DO UPDATE SET {updates}"],
            "touch": [f"UPDATE {table} SET hits = hits + 1 WHERE {one}"],
            "move": [f"UPDATE {table} SET {moved} WHERE {one} AND {taken}"],
            "delete": [f"DELETE FROM {table} WHERE {one}"],
            "all": [f"UPDATE {table} SET hits = hits + 1 WHERE {mine}"],
            "many": [f"INSERT INTO {table} ({key}) SELECT {prefix}g * 2 + {deed.by} FROM generate_series(100, 700) g ON CONFLICT DO NOTHING",
                     f"DELETE FROM {table} WHERE {mine} AND id > 400"],
            "truncate": [f"TRUNCATE {table}"],
            "truncate all": ["TRUNCATE " + ", ".join(KINDS)],
            "widen": [f"ALTER TABLE {table} ALTER {'i2' if table == 'plain' else 'hits'} TYPE bigint"],
            "full": [f"ALTER TABLE {table} REPLICA IDENTITY FULL"],
        }.get(deed.what, [])  # fmt: skip

    def _own(self, deed: Deed) -> list[str]:
        """Return the statement of a deed that this writer has to remember."""
        held = self.marks[deed.by]
        if deed.what == "add":
            self.added += 1
            return [f"ALTER TABLE {deed.table} ADD x{self.added} {('int', 'text', 'numeric(9,3)')[self.added % 3]}"]
        if deed.what == "savepoint":
            self.marks[deed.by] += 1
            return [f"SAVEPOINT s{held + 1}"]
        if deed.what == "rollback to" and held:
            return [f"ROLLBACK TO s{held}"]
        if deed.what == "release" and held:
            self.marks[deed.by] -= 1
            return [f"RELEASE s{held}"]
        return []

    def _copy(self, deed: Deed) -> None:
        """Write rows that share one place in the WAL."""
        names = ("k, id" if "k" in KINDS[deed.table].key else "id") + ", hits"
        keys = [n * 2 + deed.by for n in range(2_000 + deed.row * 40, 2_000 + deed.row * 40 + 30)]
        link = self.links[deed.by]
        link.execute(f"DELETE FROM {deed.table} WHERE id = ANY(%s)", [keys])
        with link.cursor().copy(f"COPY {deed.table} ({names}) FROM STDIN") as copy:
            for key in keys:
                copy.write_row(("c", key, 1) if names.startswith("k") else (key, 1))
