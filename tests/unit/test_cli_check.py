"""`signalroom check`: every problem at once, each with its mend, however broken the workspace is."""

import pytest

from shop_workspace import ask, call, make_shop
from signalroom.cli import checks, exits


def problems(found):
    return [problem for one in found["checks"] for problem in one["problems"]]


def named(found, what):
    return next(one for one in found["checks"] if one["what"] == what)


def test_a_right_workspace_is_ticked_off(tmp_path):
    shop = make_shop(tmp_path)
    found = call(shop, "check")
    assert found.stdout.endswith("Everything is fine.\n")
    assert "✗" not in found.stdout
    asked = ask(shop, "check")
    assert asked["ok"] is True
    assert {"workspace", "versions", "warehouse", "clock", "lake", "ledger", "sources.shop", "channels.outbox"} <= {
        one["what"] for one in asked["checks"]
    }
    assert all(one["ok"] and one["tried"] for one in asked["checks"])
    assert not list((shop / ".signalroom/lake").rglob("_check/*")), "what the check wrote is gone"


def test_every_problem_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("CRM_TEST_TOKEN", raising=False)
    shop = make_shop(
        tmp_path,
        """
[sources.crm]
kind = "files"
url = "env:CRM_TEST_TOKEN"
[sources.far]
kind = "flies"
[sources.gone]
kind = "files"
url = "not_there"
[sources.gone.streams.rows]
path = "*.csv"
[channels.blocked]
kind = "file"
path = "signalroom.toml/outbox"
""",
    )
    (shop / "schemas").mkdir()
    (shop / "schemas" / "shop.ordres.toml").write_text('[columns]\nid = "bigint"\n')
    (shop / "models").mkdir()
    (shop / "models" / "dbt_project.yml").write_text("name: [broken\n")
    found = ask(shop, "check", code=exits.CONFIG)
    said = "\n".join(problems(found))
    assert found["ok"] is False
    assert "CRM_TEST_TOKEN is not set" in said
    assert "unknown kind of source 'flies'. Did you mean 'files'?" in said
    assert "schemas/shop.ordres.toml: source 'shop' has no stream 'ordres'. Did you mean 'orders'?" in said
    assert "not_there" in said
    assert named(found, "channels.blocked")["problems"]
    assert named(found, "models")["problems"]
    assert named(found, "sources.crm")["tried"] is False
    assert named(found, "sources.shop")["ok"] is True
    printed = call(shop, "check", code=exits.CONFIG).stdout
    assert printed.count("✗") == len(problems(found))
    assert f"{len(problems(found))} problems." in printed


BROKEN = """
[lake]
url = "signalroom.toml/lake"
[ledgr]
url = "x"
[sources.far]
kind = "flies"
[sources.gone]
kind = "files"
url = "not_there"
[sources.gone.streams.rows]
path = "*.csv"
[sources.misspelt]
kind = "files"
url = "exports"
[sources.misspelt.streams.rows]
path = "*.csv"
wirte = "merge"
[sources.odd]
kind = "odd"
[channels.blocked]
kind = "file"
path = "signalroom.toml/outbox"
[channels.quiet]
kind = "file"
path = "env:QUIET_TEST_FOLDER"
[jobs.evening]
schedule = "0 25 * * *"
steps = ["snyc shop", "sync shpo", "report plse", "run mornin"]
[reports.pluse]
channels = ["outbx"]
[alerts]
channel = "opps"
"""


@pytest.mark.slow
def test_a_thoroughly_broken_workspace_is_told_all_of_it(tmp_path, monkeypatch):
    monkeypatch.delenv("QUIET_TEST_FOLDER", raising=False)
    shop = make_shop(tmp_path, BROKEN)
    for name, text in {
        ".env": "this is no line\n",
        "schemas/shop.ordres.toml": '[columns]\nid = "bigint"\n',
        "schemas/shop.orders.toml": '[columns]\nid = "bigit"\nday = "date"\nday_2 = {tipe = "date"}\n',
        "schemas/shpo.orders.toml": '[columns]\nid = "bigint"\n',
        "sources/odd.py": "import nowhere_at_all\n\nclass Odd:\n    def read(self, stream, since, window): ...\n"
        "    def streams(self): ...\n",
        "models/dbt_project.yml": "name: [broken\n",
        "reports/sick/sick.slak.j2": "misspelt",
    }.items():
        (shop / name).parent.mkdir(exist_ok=True)
        (shop / name).write_text(text)
    found = ask(shop, "check", code=exits.CONFIG)
    said = problems(found)
    for words, mend in (
        (".env, line 1: this is not KEY=VALUE.", "Write one KEY=VALUE a line"),
        ("unknown section 'ledgr'.", "Did you mean 'ledger'?"),
        ("sources.far: unknown kind of source 'flies'.", "Did you mean 'files'?"),
        ("sources.misspelt.streams.rows: unknown setting 'wirte'.", "Did you mean 'write'?"),
        ("nowhere_at_all", "mend the file"),
        ("not_there", "."),
        ("QUIET_TEST_FOLDER is not set.", "Export QUIET_TEST_FOLDER"),
        ("The outbox", "change `path`"),
        ("jobs.evening.schedule: hour 25 is out of range.", "Use a number from 0 to 23."),
        ("jobs.evening.steps[0]: unknown step 'snyc'.", "Did you mean 'sync'?"),
        ("jobs.evening.steps[1]: unknown source 'shpo'.", "Did you mean 'shop'?"),
        ("jobs.evening.steps[2]: unknown report 'plse'.", "Did you mean 'pulse'?"),
        ("jobs.evening.steps[3]: unknown job 'mornin'.", "Did you mean 'morning'?"),
        ("reports.pluse: unknown report 'pluse'.", "Did you mean 'pulse'?"),
        ("reports.pluse.channels[0]: unknown channel 'outbx'.", "Did you mean 'outbox'?"),
        ("alerts.channel: unknown channel 'opps'.", "."),
        ("schemas/shop.ordres.toml: source 'shop' has no stream 'ordres'.", "Did you mean 'orders'?"),
        ("schemas/shop.orders.toml.id.type: unknown type 'bigit'.", "Did you mean 'bigint'?"),
        ("schemas/shop.orders.toml.day_2", "Did you mean 'type'?"),
        ("schemas/shpo.orders.toml: unknown source 'shpo'.", "Did you mean 'shop'?"),
        ("The lake", "Give this user the right"),
        ("reports/sick/sick.slak.j2 is no template", "Did you mean 'sick.slack.j2'?"),
        ("dbt cannot read the models", "Mend the file"),
    ):
        assert any(words in one and mend in one for one in said), f"{words} {mend}\n" + "\n".join(said)
    assert len(said) <= 26, "nothing is told over and over:\n" + "\n".join(said)
    # What is right is said to be right, though so much else is wrong.
    assert all(named(found, what)["ok"] for what in ("versions", "warehouse", "clock", "ledger", "sources.shop"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "signalroom.toml"),
        ("", "name: it is missing"),
        ('name = "x"\ntimezone = "Mars/Olympus"\n', "unknown time zone 'Mars/Olympus'"),
        ('name = "x"\ntimezone = "UTC"\nsources = 3\n[chanels.a]\nkind = "file"\n', "unknown section 'chanels'"),
        (
            'name = "x"\ntimezone = "UTC"\n[channels.team]\nkind = "file"\npath = "xoxb-1234567890-abcdef"\n',
            "Slack token",
        ),
    ],
)
def test_a_badly_broken_file_is_told_without_a_traceback(tmp_path, text, said):
    (tmp_path / "signalroom.toml").write_text(text)
    found = ask(tmp_path, "check", code=exits.CONFIG)
    assert said in "\n".join(problems(found))
    read = text != "name = "
    assert ("connections" in {one["what"] for one in found["checks"]}) is not read
    assert ("warehouse" in {one["what"] for one in found["checks"]}) is read, (
        "what can be opened is looked at all the same"
    )
    assert "xoxb-1234567890" not in call(tmp_path, "check", code=exits.CONFIG).output


def test_without_a_workspace_there_is_one_problem(tmp_path):
    assert "There is no signalroom.toml" in problems(ask(tmp_path, "check", code=exits.CONFIG))[0]


def test_a_plugin_that_fails_in_its_check_does_not_hide_the_others(tmp_path):
    shop = make_shop(tmp_path, '\n[sources.odd]\nkind = "odd"\n')
    (shop / "sources").mkdir()
    (shop / "sources" / "odd.py").write_text(
        "from dataclasses import dataclass\n\n"
        "@dataclass(frozen=True)\nclass Odd:\n"
        "    def streams(self):\n        return ()\n"
        "    def read(self, stream, since, window):\n        return iter(())\n"
        "    def check(self):\n        raise LookupError('nobody home')\n"
    )
    found = ask(shop, "check", code=exits.CONFIG)
    assert named(found, "sources.odd")["problems"] == ["It failed with LookupError: nobody home."]
    assert named(found, "sources.shop")["ok"] is True


def test_a_report_that_needs_a_stream_nobody_has_is_told_before_its_morning(tmp_path):
    root = make_shop(tmp_path)
    file = root / "signalroom.toml"
    needs = '[reports.pulse]\nneeds = { "shop.orderz" = "2h", "shop.orders" = "2h" }\n'
    file.write_text(file.read_text().replace("[reports.pulse]\n", needs))
    (told,) = named(ask(root, "check", code=exits.CONFIG), "reports")["problems"]
    assert told == "reports.pulse.needs: source 'shop' has no stream 'orderz'. Did you mean 'orders'?"


def test_a_report_that_goes_nowhere_is_told(tmp_path):
    shop = make_shop(tmp_path)
    file = shop / "signalroom.toml"
    file.write_text(file.read_text().replace('[reports.sick]\nchannels = ["outbox"]\n', ""))
    assert "Report 'sick' goes to no channel." in problems(ask(shop, "check", code=exits.CONFIG))[0]


@pytest.mark.parametrize(
    ("installed", "wanted", "held"),
    [
        ("2.0.0", "<3,>=1.5.5", True),
        ("1.5.4", "<3,>=1.5.5", False),
        ("3.0", "<3,>=1.5.5", False),
        ("1.11.16", "<1.12,>=1.11", True),
        ("1.12.0b1", "<1.12,>=1.11", False),
        ("1.11", ">=1.11.0", True),
        ("2", "!=2", False),
        ("4.1", "", True),
    ],
)
def test_versions_are_held_to_their_bounds(installed, wanted, held):
    assert checks.supports(installed, wanted) is held


def test_an_unsuitable_version_is_told(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.9" if name == "duckdb" else "1.11.1")
    found = checks.check_versions()
    assert len(found.problems) == 1
    assert "duckdb 0.9 is not one this version works with. Install duckdb" in found.problems[0]


def test_a_manifest_that_no_refresh_can_compute_is_a_problem(tmp_path):
    shop = make_shop(tmp_path)
    assert "manifests" not in {one["what"] for one in ask(shop, "check")["checks"]}
    (shop / "views").mkdir()
    file = shop / "views" / "harbor.toml"
    manifest = 'agency = "harbor"\nreport_name = "Orders"\nquery = "select count(*) as orders from {}"\n'
    written = '[[agencies]]\nid = 1\nslug = "harbor"\nname = "Harbor Media"\n'
    for number, (table, more) in enumerate({"orders": "", "secrets": "", "gone": "enabled = false\n"}.items(), 1):
        written += f'[[custom]]\nid = {number}\ntable_name = "of_{table}"\n' + manifest.format(table) + more
    file.write_text(written)
    with (shop / "signalroom.toml").open("a") as settings:
        settings.write('\n[views]\ntables = ["shop.orders"]\n')
    (said,) = named(ask(shop, "check", code=exits.CONFIG), "manifests")["problems"]
    assert said.startswith("of_secrets: ")
    file.write_text(written.replace("from secrets", "from orders"))
    assert named(ask(shop, "check"), "manifests")["ok"]
    file.write_text(written.replace('"harbor"\nname', '"north-star"\nname'))
    (said,) = named(ask(shop, "check", code=exits.CONFIG), "manifests")["problems"]
    assert "'north-star' is no name" in said
