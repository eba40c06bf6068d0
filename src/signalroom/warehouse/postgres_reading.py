"""Questions to a Postgres database: each one SELECT, in a transaction that cannot write, for as long as is allowed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.warehouse import postgres_session as session

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from signalroom.warehouse.base import Ask


@contextmanager
def snapshot(connection: psycopg.Connection[tuple[Any, ...]], timeout_s: int) -> Generator[Ask]:
    """Yield a function whose SELECTs all see one moment, each for ``timeout_s`` at most; 0 is for no limit."""
    import psycopg

    refused = ConfigError("A query is one SELECT and nothing else.", mend="Write SELECT or WITH.")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        limit: Any = f"SET LOCAL statement_timeout = '{timeout_s}s'"
        connection.execute(limit)

        def ask(sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
            statement, bound = session.named(sql, params)
            with session.explained("answer the query"):
                cursor = connection.cursor()
                try:
                    # A pipeline speaks the extended protocol: one statement, so no COMMIT ends the transaction.
                    with connection.pipeline():
                        cursor.execute(statement, bound)
                except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.SyntaxError) as problem:
                    if isinstance(problem, psycopg.errors.SyntaxError) and "multiple commands" not in str(problem):
                        raise
                    raise refused from None
                if cursor.description is None:
                    raise refused
                return session.to_arrow(cursor)

        yield ask


def answer(url: str, sql: str, *, schema: str, timeout_s: int) -> pa.Table:
    """Return what one SELECT gives in a database that is none of ours, e.g. an app's replica.

    Args:
        url: Address of the database.
        sql: One SELECT.
        schema: Where tables without a schema are looked for first.
        timeout_s: How long connecting and the statement may take, each.

    Raises:
        ConfigError: It is not one SELECT, or the database refuses us.
        DataError: The SQL is wrong.
        RetryableError: The database does not answer, or not in time.
    """
    with closing(session.connect(url, timeout_s=timeout_s)) as connection:
        path: Any = f"SET search_path = {schema}, public"
        connection.execute(path)
        with snapshot(connection, timeout_s) as ask:
            return ask(sql)
