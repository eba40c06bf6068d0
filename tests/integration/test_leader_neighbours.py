"""The leader kit in a database that is not its own: names like the kit's, partitions with rows, tables that are renamed."""

from __future__ import annotations

import psycopg
import pytest

from leader_app import ONE, PAGE, WATCHES, app, installed, page_rows
from shop_workspace import call
from signalroom.errors import DataError
from signalroom.workspace.projections import WatchSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres):
    return postgres()


@pytest.fixture
def leader(tmp_path, url):
    with installed(tmp_path, url) as one:
        yield one


@pytest.fixture
def other(url):
    """Return a session of the app's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def functions(other):
    return [name for (name,) in other.execute("select proname from pg_proc where proname like 'reporting%' order by 1")]


def test_functions_of_the_app_that_are_called_like_the_kits_stay(tmp_path, url, leader, other):
    other.execute("create function reporting_on_hold() returns integer language sql as 'select 1'")
    other.execute("create function reporting_summary() returns integer language sql as 'select 1'")
    leader.install(app(tmp_path, url))
    assert {"reporting_on_hold", "reporting_summary"} < set(functions(other))
    leader.uninstall()
    assert functions(other) == ["reporting_on_hold", "reporting_summary"]


def test_a_trigger_of_the_app_that_is_called_like_the_kits_is_not_taken_for_it(tmp_path, url, leader, other):
    leader.uninstall()
    other.execute("create function mine() returns trigger language plpgsql as 'begin return null; end'")
    other.execute("create trigger reporting_insert after insert on pages for each statement execute function mine()")
    leader.install(app(tmp_path, url))
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    leader.drain()
    assert list(page_rows(leader)) == [ONE]
    leader.uninstall()
    mine = "select tgname, tgenabled from pg_trigger where not tgisinternal"
    assert other.execute(mine).fetchall() == [("reporting_insert", "O")]


def test_what_was_written_before_a_trigger_was_there_is_computed_when_it_is(tmp_path, url, leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    leader.drain()
    other.execute("alter table donations disable trigger reporting_insert")
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 500)")
    assert leader.status().missing_triggers == ("donations: insert",)
    leader.install(app(tmp_path, url))
    leader.drain()
    assert page_rows(leader)[ONE][2] == 500
    leader.install(app(tmp_path, url))
    assert leader.status().intentions.pending == 0, "an installation that finds nothing new computes nothing"


def test_a_first_installation_notes_each_row_once(tmp_path, url, leader, other):
    leader.uninstall()
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    leader.install(app(tmp_path, url))
    assert leader.status().intentions.pending == 1


def test_a_renamed_table_is_named_and_watched_under_its_new_name_at_once(tmp_path, url, leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    other.execute("alter table donations rename to gifts")
    missing = leader.status().missing_triggers
    assert "public.donations, which is gone or renamed: insert" in missing
    watches = WATCHES | {"page": (*WATCHES["page"][::2], WatchSettings("gifts", "page_uuid"))}
    leader.install(app(tmp_path, url, page=PAGE.replace("from donations", "from gifts"), watches=watches))
    assert leader.status().missing_triggers == ()
    leader.drain()
    other.execute(f"insert into gifts (page_uuid, amount) values ('{ONE}', 500)")
    leader.drain()
    assert page_rows(leader)[ONE][2] == 500


def test_a_table_is_named_as_the_catalogue_spells_it(tmp_path, url, leader, other):
    other.execute('create schema "Crm"; create table "Crm"."Team Pages" (page_uuid uuid)')
    named = tuple(WatchSettings(name, "page_uuid") for name in ("Crm.Team Pages", '"Crm"."Team Pages"'))
    watches = WATCHES | {"page": (*WATCHES["page"], *named)}
    leader.install(app(tmp_path, url, watches=watches, uuids=("Crm.Team Pages.uuid",)))
    watched = other.execute("select relation from reporting_watches where relation like '%Team%'").fetchall()
    assert watched == [('"Crm"."Team Pages"',)]


def test_what_hangs_on_the_kit_is_named_by_the_refusal_to_remove_it(leader, other):
    other.execute("create view totals as select total from reporting_page")
    with pytest.raises(DataError, match="view totals depends on table reporting_page"):
        leader.uninstall()


def test_a_query_that_broke_is_told_once_and_not_for_each_row(tmp_path, url, leader, other):
    (tmp_path / "signalroom.toml").write_text(
        'name = "t"\ntimezone = "UTC"\n[projections.app]\nurl = "env:LEADER_URL"\n[projections.app.entities.page]\n'
        'key = "uuid"\nsql = "page.sql"\nwatch = [{ table = "pages", id = "uuid" }]\n'
    )
    (tmp_path / ".env").write_text(f"LEADER_URL={url}\n")
    other.execute("insert into pages (name) select 'Page ' || n from generate_series(1, 20) n")
    other.execute("drop view reporting_page_source; alter table pages disable trigger reporting_insert")
    leader.drain()
    shown = call(tmp_path, "leader", "status")
    assert shown.stdout.count("reporting_page_source") == 1
    assert shown.output.count("No trigger on pages (insert)") == 1
