"""Captured changes against Postgres' own decoder: one by one, with their places, whatever is done to the tables."""

import pytest
from hypothesis import given

from change_laws import check_life, lives
from property_profiles import examples


@pytest.fixture(scope="module")
def database(postgres_server):
    dsn = postgres_server.create_database()
    yield dsn
    postgres_server.drop_database(dsn)


@pytest.mark.slow
@examples(quick=8, many=3_000)
@given(life=lives())
def test_our_slot_tells_what_the_servers_own_decoder_tells(database, tmp_path_factory, life) -> None:
    check_life(database, tmp_path_factory.getbasetemp(), life)
