"""A Postgres database for each run, copied from what was there before its sync."""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
from psycopg import sql


class Databases:
    """Makes, copies and drops databases of one server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._run = f"{id(self):x}"[-6:]

    def make(self, template: str) -> str:
        """Return the address of a database that holds what ``template`` (an address, or empty) holds."""
        name = f"crash_{self._run}_{next(self._numbers)}"
        source = template.rpartition("/")[2] or "template0"
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            if template:
                self._alone(connection, source)
            statement = sql.SQL("create database {} template {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(source)))
        return self._server.dsn(name)

    def drop(self, address: str) -> None:
        """Remove a database, whoever is still connected to it: a killed client's backend may live a little longer."""
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            name = sql.Identifier(address.rpartition("/")[2])
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))

    @staticmethod
    def _alone(connection: psycopg.Connection[Any], name: str) -> None:
        """End what is connected to a database and wait for it: a template may have no users."""
        ended = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where datname = %s"
        connection.execute(ended, [name])
