"""A short run of the fuzzer of manifests; the long one is the program beside it."""

import pytest

import fuzz_manifests

pytestmark = pytest.mark.slow


def test_no_agency_that_logs_in_can_tell_others_rows(postgres_server):
    with fuzz_manifests.worlds(postgres_server) as made:
        found = fuzz_manifests.asked_directly(11, 300, made)
    assert found.told_apart == []
    assert found.answered > 100


@pytest.mark.parametrize("engine", ["postgres", "duckdb"])
def test_no_view_tells_others_rows(engine, request):
    server = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    with fuzz_manifests.worlds(server) as made:
        found = fuzz_manifests.stored(12, 25, made)
    assert found.told_apart == []
    assert found.answered > 5


def test_the_fuzzer_notices_one_who_sees_it_all(postgres_server):
    with fuzz_manifests.worlds(postgres_server) as made:
        for warehouse in made:
            fuzz_manifests._kept(warehouse, ["select c.offer from clicks c"], 0)
            warehouse.run("grant usage on schema fuzz to signalroom_login_fuzzed")
            warehouse.run("grant select on all tables in schema fuzz to signalroom_login_fuzzed")
        found = fuzz_manifests.asked_directly(11, 60, made)
    assert found.told_apart != []
