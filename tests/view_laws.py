"""What a ledger promises about report views, whatever database keeps it."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from signalroom.errors import ConfigError, DataError
from signalroom.ledger.view_tables import view_tables
from signalroom.view import Agency, CannedReport, ManifestSet, Refreshed, View

ACME, BOLT = Agency(7, "acme", "Acme Media"), Agency(8, "bolt", "Bolt & Sons")
DAILY = CannedReport(1, "daily", "Daily", "select day, sum(n) from clicks group by day")
OWN = View("acme_top", "Top", 7, "acme", "select * from clicks", 1)
GIVEN = ManifestSet((ACME, BOLT), (OWN,), (DAILY,), ((1, 7, 1), (2, 8, 1)))
NAMES = ["acme_top", "daily__acme", "daily__bolt"]


class ViewLaws:
    """Manifests, history and status: needs a ``ledger`` opened with ``clock``."""

    def test_each_agency_has_its_own_view_of_a_canned_report(self, ledger):
        assert ledger.manifests.bring(GIVEN) == 0
        assert ledger.manifests.all() == GIVEN
        views = ledger.manifests.all().views()
        assert [view.name for view in views] == NAMES
        assert len({view.key for view in views}) == 3  # ids collide between custom and canned, keys do not
        assert {name: one.status for name, one in ledger.views.statuses().items()} == dict.fromkeys(NAMES, "pending")

    def test_bringing_again_changes_what_changed_and_keeps_what_others_wrote(self, ledger):
        ledger.manifests.bring(GIVEN)
        tables = view_tables(ledger._store.dialect)
        with ledger._store.write() as connection:
            connection.execute(
                tables.custom.insert(),
                {
                    "id": 50,
                    "table_name": "from_the_screen",
                    "report_name": "S",
                    "agency_id": 8,
                    "agency_slug": "bolt",
                    "query": "select 1",
                    "database_id": 1,
                    "enabled": True,
                },
            )
        changed = dataclasses.replace(OWN, query="select 2", enabled=False)
        assert ledger.manifests.bring(dataclasses.replace(GIVEN, custom=(changed,), assigned=((1, 7, 1),))) == 1
        kept = {view.name: view for view in ledger.manifests.all().views()}
        assert sorted(kept) == ["acme_top", "daily__acme", "from_the_screen"]
        assert (kept["acme_top"].query, kept["acme_top"].enabled) == ("select 2", False)
        ledger.manifests.bring(GIVEN)
        assert len(ledger.manifests.all().views()) == 4

    def test_two_manifests_cannot_claim_one_name(self, ledger):
        taken = dataclasses.replace(OWN, name="daily__acme")
        with pytest.raises(ConfigError, match="cannot be taken"):
            ledger.manifests.bring(dataclasses.replace(GIVEN, custom=(taken,)))
        assert ledger.manifests.all() == ManifestSet()

    def test_agencies_that_exchange_slugs_keep_history_and_status(self, ledger):
        ledger.manifests.bring(GIVEN)
        runs = ledger.views.claim(GIVEN.views(), 60)
        ledger.views.finish([(run, Refreshed(run.view, rows=run.view.agency_id)) for run in runs])
        exchanged = (dataclasses.replace(ACME, slug="bolt"), dataclasses.replace(BOLT, slug="acme"))
        own = dataclasses.replace(OWN, agency_slug="bolt")
        ledger.manifests.take(dataclasses.replace(GIVEN, agencies=exchanged, custom=(own,)))
        for name, slug, agency in (("daily__bolt", "bolt", 7), ("daily__acme", "acme", 8), ("acme_top", "bolt", 7)):
            (row,) = ledger.views.history(name)
            assert (row["agency_slug"], row["agency_id"], row["records_processed"]) == (slug, agency, agency)
        assert {name: one.status for name, one in ledger.views.statuses().items()} == dict.fromkeys(NAMES, "success")

    def test_what_refers_to_nothing_is_refused(self, ledger):
        stray = dataclasses.replace(OWN, agency_id=99, agency_slug="none")
        with pytest.raises(ConfigError, match="cannot be taken"):
            ledger.manifests.bring(dataclasses.replace(GIVEN, custom=(stray,)))
        tables = view_tables(ledger._store.dialect)
        row = {"table_name": "x", "report_type": "canned", "manifest_id": 99, "status": "success"}
        with pytest.raises(sa.exc.IntegrityError), ledger._store.write() as connection:
            connection.execute(tables.status.insert(), row)

    def test_a_refresh_from_start_to_end(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        runs = ledger.views.claim(GIVEN.views(), 60)
        assert {one.status for one in ledger.views.statuses().values()} == {"running"}
        clock.advance(3)
        done = [
            (run, Refreshed(run.view, rows=5, bytes=900, seconds=2.6, memory_mb=40, cpu_percent=97)) for run in runs
        ]
        assert ledger.views.finish(done) == 3
        (row,) = ledger.views.history("daily__acme")
        assert row["status"] == "success"
        assert (row["finish_time"] - row["start_time"]).total_seconds() == 3
        assert [row[name] for name in ("records_processed", "bytes_processed", "duration_seconds")] == [5, 900, 3]
        assert [row[name] for name in ("memory_usage_mb", "cpu_percentage", "report_type")] == [40, 97, "canned"]
        assert {one.status for one in ledger.views.statuses().values()} == {"success"}
        assert len(ledger.views.claim(GIVEN.views(), 60)) == 3

    def test_failures_in_a_row_are_counted_and_forgiven(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        for expected in (1, 2, 3):
            (run,) = ledger.views.claim([OWN], 60)
            ledger.views.finish([(run, Refreshed(OWN, error=DataError("No such column.")))])
            status = ledger.views.statuses(["acme_top"])["acme_top"]
            assert (status.failures, status.status, status.query_hash) == (expected, "error", OWN.query_hash)
            assert status.error == "No such column."
            clock.advance(1)
        (run,) = ledger.views.claim([OWN], 60)
        ledger.views.finish([(run, Refreshed(OWN, rows=1))])
        assert ledger.views.statuses(["acme_top"])["acme_top"].failures == 0
        assert [row["consecutive_failures"] for row in ledger.views.history("acme_top")] == [0, 3, 2, 1]

    def test_one_of_many_does_the_work(self, ledger):
        ledger.manifests.bring(GIVEN)
        with ThreadPoolExecutor(6) as pool:
            taken = list(pool.map(lambda _: ledger.views.claim(GIVEN.views(), 60), range(6)))
        assert sorted(run.view.name for runs in taken for run in runs) == NAMES

    def test_a_dead_run_becomes_an_error_and_cannot_come_back(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        (dead,) = ledger.views.claim([OWN], 60)
        assert ledger.views.sweep() == 0
        clock.advance(61)
        (mine,) = ledger.views.claim([OWN], 60)
        assert ledger.views.finish([(dead, Refreshed(OWN, rows=1))]) == 0
        newest, lost = ledger.views.history("acme_top")
        assert (newest["status"], lost["status"]) == ("running", "error")
        assert "its process ended" in lost["errors"]
        ledger.views.finish([(mine, Refreshed(OWN, rows=1))])
        clock.advance(1000)
        assert ledger.views.sweep() == 0
        assert ledger.views.statuses(["acme_top"])["acme_top"].status == "success"
        ledger.views.claim([OWN], 60)
        clock.advance(61)
        assert ledger.views.sweep() == 1
        assert ledger.views.statuses(["acme_top"])["acme_top"].status == "error"

    def test_what_is_given_back_leaves_no_trace(self, ledger):
        ledger.manifests.bring(GIVEN)
        ledger.views.release(ledger.views.claim([OWN], 60))
        assert ledger.views.history("acme_top") == []
        assert ledger.views.statuses(["acme_top"])["acme_top"].status == "pending"
        (run,) = ledger.views.claim([OWN], 60)
        ledger.views.finish([(run, Refreshed(OWN, error=DataError("No such column.")))])
        ledger.views.release(ledger.views.claim([OWN], 60))
        status = ledger.views.statuses(["acme_top"])["acme_top"]
        assert (status.status, status.error, status.failures) == ("error", "No such column.", 1)

    def test_refreshes_of_long_ago_are_forgotten_and_the_status_stays(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        for _ in range(3):
            (run,) = ledger.views.claim([OWN], 60)
            ledger.views.finish([(run, Refreshed(OWN, error=DataError("No such column.")))])
            clock.advance(86_400)
        ledger.requests.ask(ledger.monitor.job("acme_top", None))
        clock.advance(86_400)
        assert ledger.views.forget(clock.now(), most=2) == 2
        assert ledger.views.forget(clock.now(), most=2) == 1
        assert ledger.views.forget(clock.now(), most=2) == 0
        assert [row["status"] for row in ledger.views.history("acme_top")] == ["pending"]
        assert ledger.views.statuses(["acme_top"])["acme_top"].failures == 3

    def test_the_dashboard_names_what_the_front_end_knows(self, ledger):
        ledger.manifests.bring(GIVEN)
        place = "reporting." if ledger._store.dialect == "postgresql" else ""
        with ledger._store.read() as connection:
            rows = connection.execute(sa.text(f'select * from {place}seeder_dashboard order by "tableName"')).mappings()
            first = dict(rows.all()[1])
        assert first == {
            "id": 1, "reportName": "Daily", "tableName": "daily__acme", "reportType": "canned", "status": "pending",
            "durationSeconds": 0, "startTime": None, "consecutiveFailures": 0, "agencyId": 7,
            "agencyName": "Acme Media", "agencySlug": "acme",
        }  # fmt: skip
