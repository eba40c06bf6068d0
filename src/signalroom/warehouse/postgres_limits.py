"""A transaction in which a query of a view may use so much and no more."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, DataError
from signalroom.view import ViewLimits
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.postgres_roles import work_mem_mb
from signalroom.warehouse.quoting import literal

if TYPE_CHECKING:
    import psycopg

_SPILL_FOR_MEMORY = 8
_SPILL = "SELECT set_config('temp_file_limit', ?, true) FROM pg_roles WHERE rolname = current_user AND rolsuper"


@contextmanager
def limited(connection: psycopg.Connection[tuple[Any, ...]], limits: ViewLimits) -> Generator[None]:
    """Yield a transaction with the limits of views; its snapshot is not taken yet.

    Raises:
        DataError: The query takes too long, or spills more than it may.
        ConfigError: It reads what is not its agency's.
    """
    import psycopg

    settings = {
        "statement_timeout": f"{limits.timeout_s}s", "timezone": limits.zone, "standard_conforming_strings": "on",
        "work_mem": f"{work_mem_mb(limits)}MB",
    }  # fmt: skip
    try:
        with connection.transaction():
            for name, value in settings.items():
                session.execute(connection, f"SET LOCAL {name} = {literal(value)}", [])
            yield
    except psycopg.errors.QueryCanceled as problem:
        raise DataError(
            f"The query took longer than {limits.timeout_s} s.",
            mend="Build a model for what it adds up, or raise [views] timeout_s.",
        ) from problem
    except psycopg.errors.ConfigurationLimitExceeded as problem:
        raise DataError(
            "The query spilled more to disk than a view may.", mend="Ask for less at once, or raise [views] memory_mb."
        ) from problem
    except psycopg.errors.InsufficientPrivilege as problem:
        said = (problem.diag.message_primary or "it may not").rstrip(".")
        raise ConfigError(
            f"The query reads what is not its agency's: {said}.", mend="Read the tables of [views] only."
        ) from problem


def bound_spill(connection: psycopg.Connection[tuple[Any, ...]], limits: ViewLimits) -> None:
    """Bound what the transaction spills to disk, where we may: only a superuser can; it takes the snapshot."""
    session.execute(connection, _SPILL, [f"{_SPILL_FOR_MEMORY * limits.memory_mb}MB"])
