"""What the upstream's catalogue says of the tables to capture, and what keeps them from being captured."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from signalroom.capture.shapes import KINDS, Field, Shape, require_identity
from signalroom.clients.replication import Database, quoted
from signalroom.errors import ConfigError, nearest
from signalroom.position import Json
from signalroom.stream import column_name

_TABLE = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relreplident::text, c.relpersistence::text,
           i.indimmediate
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indrelid = c.oid
        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
    WHERE c.relkind IN ('r', 'p')"""
_COLUMNS = """
    SELECT a.attrelid::bigint, a.attname, a.atttypid::bigint, a.atttypmod,
           c.relreplident = 'f' OR coalesce(a.attnum = ANY (i.indkey), false)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_index i ON i.indrelid = c.oid
        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
    WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attrelid, a.attnum"""
_BASES = """
    SELECT oid::bigint, CASE typtype WHEN 'e' THEN 25 ELSE typbasetype END::bigint, typtypmod
    FROM pg_type WHERE typtype IN ('d', 'e')"""
_JSON = 114
_TYPES: Mapping[str, str] = {
    "bool": "boolean", "int2": "bigint", "int4": "bigint", "int8": "bigint", "oid": "bigint", "float4": "double",
    "float8": "double", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz", "jsonb": "json",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A table of the upstream.

    Attributes:
        shape: Its columns, without those that are generated.
        partitioned: Whether its rows are in partitions.
        deferrable: Whether its key is checked at the end of a transaction only.
        unlogged: Whether its changes are not in the WAL.
    """

    shape: Shape
    partitioned: bool
    deferrable: bool
    unlogged: bool

    @property
    def types(self) -> dict[str, str]:
        """Column -> its type in the warehouse; a numeric without a scale is left out, since only its values tell."""
        return {one.name: kind for one in self.shape.fields if (kind := _type(one))}


def _type(field: Field) -> str:
    if field.kind == "numeric":
        precision, scale = field.decimal or (0, 0)
        # with room to grow: a table upstream may be given more digits
        return f"decimal({18 if precision <= 18 and scale <= 3 else 38},{scale})" if precision else ""
    return "json" if field.oid == _JSON else _TYPES.get(field.kind, "text")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The tables to capture, as they are now.

    Attributes:
        tables: ``schema.table`` -> what was found.
        bases: Domain or enum OID -> (OID that its binary form is of, modifier).
        version: The server's version, e.g. 150018.
    """

    tables: Mapping[str, Found]
    bases: Mapping[int, tuple[int, int]]
    version: int

    @property
    def binary(self) -> bool:
        """Whether every column has a binary form that we decode: else all are asked for as text, which is slower."""
        return self.version >= 140000 and all(one.kind for found in self.tables.values() for one in found.shape.fields)

    def only(self, names: Collection[str]) -> Catalogue:
        """Return it with those of its tables that are among ``names``."""
        return replace(self, tables={name: one for name, one in self.tables.items() if name in names})

    def shapes(self) -> dict[str, Json]:
        """Return ``schema.table`` -> its columns, as a position holds them."""
        return {title: one.shape.record() for title, one in self.tables.items()}

    def oids(self) -> dict[str, Json]:
        """Return ``schema.table`` -> its OID."""
        return {title: one.shape.oid for title, one in self.tables.items()}

    @classmethod
    def read(cls, database: Database, names: Sequence[str]) -> Catalogue:
        """Return what the catalogue says of ``names`` (``schema.table``).

        Raises:
            ConfigError: There is no such table.
        """
        rows = {f"{row[1]}.{row[2]}": row for row in database.rows(_TABLE)}
        absent = [name for name in names if name not in rows]
        if absent:
            known = ", ".join(name for name in sorted(rows) if not name.startswith(("pg_", "information_schema.")))
            raise ConfigError(
                f"The database has no table {absent[0]!r}, or this user must not see it.",
                mend=nearest(absent[0], rows) or f"It has {known or 'none'}.",
            )
        bases = _resolved({row[0]: (row[1], row[2]) for row in database.rows(_BASES)})
        fields: dict[int, list[Field]] = {rows[name][0]: [] for name in names}
        for oid, name, kind, modifier, identity in database.rows(_COLUMNS, list(fields)):
            base, inherited = bases.get(kind, (kind, -1))
            held = inherited if modifier == -1 else modifier
            fields[oid].append(Field(name, kind, held, identity, KINDS.get(base, "")))
        tables = {
            name: Found(
                Shape(row[0], row[1], row[2], tuple(fields[row[0]])),
                row[3] == "p",
                row[6] is False,
                row[5] != "p",
            )
            for name in names
            for row in [rows[name]]
        }
        return cls(tables, bases, int(database.rows("SHOW server_version_num")[0][0]))


def _resolved(bases: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Return each domain with the type at the bottom of it: a domain may be of another."""
    found: dict[int, tuple[int, int]] = {}
    for oid, (direct, own) in bases.items():
        base, modifier = direct, own
        while base in bases:
            deeper, inherited = bases[base]
            base, modifier = deeper, inherited if modifier == -1 else modifier
        found[oid] = (base, modifier)
    return found


def require_capturable(found: Found, key: Sequence[str]) -> None:
    """Refuse a table whose changes would not arrive, or could not be told apart.

    To publish a table without replica identity would make the application's own UPDATE and DELETE fail.

    Raises:
        ConfigError: It has no replica identity, its key does not tell its rows apart, or it is not in the WAL.
    """
    shape = found.shape
    if found.unlogged:
        raise ConfigError(
            f"{shape.title} is unlogged or temporary: the WAL does not have its changes.",
            mend=f"Run ALTER TABLE {shape.title} SET LOGGED, or leave it out.",
        )
    if not any(field.identity for field in shape.fields):
        raise ConfigError(
            f"{shape.title} has no primary key: once it is published, its UPDATEs and DELETEs would fail.",
            mend=f"Give it a primary key, or run ALTER TABLE {shape.title} REPLICA IDENTITY FULL.",
        )
    if key and found.deferrable:
        raise ConfigError(
            f"The primary key of {shape.title} is deferrable: two rows may share it for a while.",
            mend=f"Make it NOT DEFERRABLE, or name a unique index by ALTER TABLE {shape.title} REPLICA IDENTITY.",
        )
    taken = [field.name for field in shape.fields if field.name in ("_op", "_seq", "_unset")]
    if taken:
        raise ConfigError(
            f"{shape.title} has a column {taken[0]!r}, a name that changes themselves use.", mend="Rename it."
        )
    require_identity(shape, key)
    named = [(field.name, column_name(field.name)) for field in shape.fields]
    for (one, first), (other, second) in itertools.combinations(named, 2):
        # lake files know no case, and a key is known by its name in the warehouse
        alike = first == second and ({one, other} & {*key} or one.lower() == other.lower())
        if alike:
            raise ConfigError(
                f"{shape.title} has columns {one!r} and {other!r}, which are one name in the warehouse.",
                mend="Rename one of them.",
            )


def table_sql(shape: Shape) -> str:
    """Return a table's name in SQL."""
    return f"{quoted(shape.schema)}.{quoted(shape.name)}"
