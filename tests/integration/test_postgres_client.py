"""What a refused connection is: something a person must mend, not something that passes."""

import psycopg
import pytest

from signalroom.clients.postgres import connect
from signalroom.clients.replication import Replication
from signalroom.errors import ConfigError, RetryableError

pytestmark = pytest.mark.slow


def test_a_user_or_database_that_is_not_there_is_for_a_person(postgres):
    dsn = postgres()
    for wrong in (dsn.replace("postgres@", "nobody@"), dsn + "_gone"):
        with pytest.raises(ConfigError, match="does not exist") as caught:
            connect(wrong, timeout_s=5)
        assert caught.value.mend == "Check the user, its password and its rights."


def test_a_user_who_may_not_replicate_is_for_a_person(postgres):
    dsn = postgres()
    user = f"weak_{dsn.rpartition('_')[2]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN")
        try:
            with pytest.raises(ConfigError, match=r"replication|WAL sender"):
                Replication(dsn.replace("postgres@", f"{user}@"), timeout_s=5)
        finally:
            connection.execute(f"DROP ROLE {user}")


def test_a_server_that_does_not_answer_may_answer_later(free_port):
    with pytest.raises(RetryableError):
        connect(f"postgresql://postgres@127.0.0.1:{free_port}/x", timeout_s=2)


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
