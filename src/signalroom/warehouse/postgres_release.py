"""Tables let go of by the barrier views that read them, so that a table can be typed anew or made anew.

Postgres neither alters the type of a column that a view reads, nor drops a table that one reads, unless the view and
all that stands on it goes too: agencies' views among them, with everybody's right to read them. So a barrier view steps
aside first. One that nothing stands on goes. Another goes on under another name, with its columns and no rows, for as
long as a materialized view of an agency stands on it, which keeps its rows. The next refresh makes the barrier again
and builds the agency's view aside over it.
"""

from __future__ import annotations

from collections.abc import Sequence

from signalroom.errors import ConfigError
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.quoting import qualified

PAST = "signalroom_past_"
"""What the name of a barrier view that stepped aside begins with; its oid follows."""

DDL = (
    f"""CREATE OR REPLACE FUNCTION signalroom.step_aside(barrier regclass) RETURNS void
        LANGUAGE plpgsql SET search_path = pg_catalog AS $$
        DECLARE nothing text;
        BEGIN
            EXECUTE format('DROP VIEW %s', barrier);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            SELECT string_agg(format('CAST(NULL AS %s) COLLATE %s AS %I', format_type(atttypid, atttypmod),
                        CAST(attcollation AS regcollation), attname), ', ' ORDER BY attnum)
                INTO nothing FROM pg_attribute WHERE attrelid = barrier AND attnum > 0 AND NOT attisdropped;
            nothing := replace(nothing, ' COLLATE -', '');
            EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT %s WHERE false', barrier, nothing);
            EXECUTE format('COMMENT ON VIEW %s IS NULL', barrier);
            EXECUTE format('ALTER VIEW %s RENAME TO %I', barrier, '{PAST}' || CAST(barrier AS oid));
        END $$""",
    """CREATE OR REPLACE FUNCTION signalroom.let_go(base regclass) RETURNS void
        LANGUAGE plpgsql SET search_path = pg_catalog AS $$
        BEGIN
            PERFORM signalroom.step_aside(b.oid) FROM (
                SELECT DISTINCT v.oid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
                WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refobjid = base AND v.relkind = 'v'
                    AND (n.nspname ~ '^agency_.*_rows$' OR n.nspname = 'signalroom_shares_rows')
                    AND obj_description(v.oid, 'pg_class') ~ '^(every agency|agency -?[0-9]+) of ') AS b;
        END $$""",
)
"""Functions of the database, since dbt drops tables too: ``signalroom.let_go('schema.table')`` before it does."""

_READERS = """SELECT DISTINCT CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW ' ELSE 'VIEW ' END
        || quote_ident(n.nspname) || '.' || quote_ident(v.relname)
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_namespace n ON n.oid = v.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refobjid = to_regclass(?) AND a.attname = ANY(?)
    ORDER BY 1"""
_BENEATH = """SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(b.relname)
    FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid JOIN pg_class b ON b.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = b.relnamespace
    WHERE r.ev_class = to_regclass(?) AND d.classid = CAST('pg_rewrite' AS regclass) AND starts_with(b.relname, ?)"""


def release(execute: Execute, title: str, columns: Sequence[str]) -> None:
    """Let the types of some columns of ``schema.table`` be altered, inside the transaction that alters them.

    Raises:
        ConfigError: Views that are not ours to set aside read them; the sentence names those.
    """
    if execute("SELECT to_regprocedure('signalroom.let_go(regclass)') IS NOT NULL", [])[0][0]:
        execute("SELECT signalroom.let_go(to_regclass(?))", [qualified(title)])
    readers = [str(row[0]) for row in execute(_READERS, [qualified(title), list(columns)])]
    if readers:
        raise ConfigError(
            f"{title} cannot be typed anew ({', '.join(columns)}) while it is read by {', '.join(readers)}.",
            mend=f"Run {'; '.join(f'DROP {one}' for one in readers)}; replay again, then make them again: "
            "`signalroom build` makes those of dbt.",
        )


def past_beneath(execute: Execute, place: str) -> list[str]:
    """Return the barrier views that stepped aside, quoted, on which a view (quoted) still stands."""
    return [str(row[0]) for row in execute(_BENEATH, [place, PAST])]
