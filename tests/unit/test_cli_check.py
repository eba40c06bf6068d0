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
    assert named(found, "connections")["tried"] is False
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
