"""The command line as a whole: its help, its errors, its exit codes, and what it never prints."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shop_workspace import ask, call, make_shop
from signalroom import telemetry
from signalroom.cli import app as root
from signalroom.cli import exits
from signalroom.cli.app import ENTRIES, app
from signalroom.errors import ConfigError, DataError, RetryableError

FAILING = '''
"""A source that fails as it is told to."""
import logging
from dataclasses import dataclass
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.stream import Column, Stream, Table
from signalroom.workspace.settings import Secret, injected, setting


@dataclass(frozen=True)
class Failing:
    how: str = setting("How.")
    token: Secret = setting("Token.", default=Secret("env:FAILING_TOKEN"))
    name: str = injected("failing")

    def streams(self):
        return (Stream(self.name, "rows", (Table("rows", (Column("a"),)),)),)

    def read(self, stream, since, window):
        secret = self.token.value or ""
        logging.getLogger("signalroom.failing").debug("asking with %s", secret)
        kinds = {"data": DataError, "retry": RetryableError, "config": ConfigError, "ctrl-c": KeyboardInterrupt}
        raise kinds.get(self.how, ZeroDivisionError)(f"It failed with {secret!r}.")
        yield

    def confirm(self, stream, position):
        pass

    def check(self):
        return [f"The token {self.token.value} is refused: renew it."]
'''


@pytest.fixture(autouse=True)
def secrets_as_they_were(monkeypatch):
    """The list of secrets belongs to the process: each test leaves it as it found it."""
    monkeypatch.setattr(telemetry, "_forms", {})
    monkeypatch.setattr(telemetry, "_pattern", None)


def failing(tmp_path, how, extra=""):
    """Make a workspace whose source fails in one way."""
    shop = make_shop(tmp_path, f'\n[sources.failing]\nkind = "failing"\nhow = "{how}"\n{extra}')
    (shop / "sources").mkdir()
    (shop / "sources" / "failing.py").write_text(FAILING)
    return shop


def test_help_names_every_command_and_the_exit_codes():
    text = CliRunner().invoke(app, ["--help"]).stdout
    for name, entry in ENTRIES.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", text, re.MULTILINE), name
    for code in ("0", "1", "2", "3", "130"):
        assert re.search(rf"^    {code} ", text, re.MULTILINE)
    assert "--hidden" not in text


def test_each_command_is_where_the_table_says_and_explains_itself():
    ctx = click.Context(app)
    for name in app.list_commands(ctx):
        command = app.get_command(ctx, name)
        assert command is not None
        assert command.name == name
        assert (command.help or "").strip()
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        for line in shown.stdout.splitlines():
            assert len(line) <= 110


def test_without_a_command_it_shows_the_help():
    shown = CliRunner().invoke(app, [])
    assert "Usage: signalroom" in shown.output
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("signalroom ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["snyc", "shop"], "There is no command 'snyc'. Did you mean 'sync'?"),
        (["frobnicate"], "There is no command 'frobnicate'. `signalroom --help` lists them."),
        (["sync"], "Missing argument 'SOURCE[.STREAM]'. `signalroom sync --help` shows how it is written."),
        (
            ["jobs", "list", "now"],
            "Got unexpected extra argument (now). `signalroom jobs list --help` shows how it is written.",
        ),
        (["sync", "shop", "--wndow", "7d"], "No such option '--wndow'. Did you mean '--window'?"),
        (["sync", "shp"], "There is no source 'shp'. Did you mean 'shop'?"),
        (["sync", "shop.order"], "Source 'shop' has no stream 'order'. Did you mean 'orders'?"),
        (["sync", "shop", "--window", "todya"], "unknown window 'todya'. Did you mean 'today'?"),
        (["report", "puls"], "There is no report 'puls'. Did you mean 'pulse'?"),
        (["report", "pulse", "--send", "--channel", "outbx"], "There is no channel 'outbx'. Did you mean 'outbox'?"),
        (["report", "pulse", "--send", "--preview"], "--preview and --send exclude each other."),
        (["report", "pulse", "--date", "2026-02-30"], "'2026-02-30' is not a date. Write it as YYYY-MM-DD."),
        (["run", "mornin"], "There is no job 'mornin'. Did you mean 'morning'?"),
        (["replay", "--source", "shp"], "There is no source 'shp'. Did you mean 'shop'?"),
        (["replay", "--from", "last"], "'last' is not a date. Write it as YYYY-MM-DD."),
        (["runs", "lst"], "There is no command 'lst'. Did you mean 'list'?"),
        (["runs", "show", "x"], "There is no run 'x'. `signalroom runs` lists them."),
        (["rejects", "show", "shp.orders"], "There is no source 'shp'. Did you mean 'shop'?"),
        (["query", "drop table shop.orders"], "A query is one SELECT and nothing else."),
        (["query", "select 1; select 2"], "A query is one SELECT and nothing else."),
    ],
)
def test_a_mistake_is_one_sentence_with_its_mend(tmp_path, args, said):
    found = call(make_shop(tmp_path), *args, code=exits.CONFIG)
    assert found.stdout == ""
    assert said in found.stderr
    assert found.stderr.startswith("Error: ")
    assert found.stderr.count("\n") == 1
    if args[0] != "runs":
        assert ask(tmp_path, "runs")["runs"] == []  # a slip of the fingers is no failed run


def test_outside_a_workspace(tmp_path):
    found = call(tmp_path, "status", code=exits.CONFIG)
    assert f"There is no signalroom.toml in {tmp_path} or above it." in found.stderr
    assert "signalroom init" in found.stderr


@pytest.mark.parametrize(
    ("how", "code"), [("data", exits.DATA), ("config", exits.CONFIG), ("retry", exits.RETRY), ("ctrl-c", 130)]
)
def test_the_exit_code_says_what_to_do_next(tmp_path, how, code):
    shop = failing(tmp_path, how)
    found = call(shop, "sync", "failing", code=code)
    assert found.stdout == ""
    assert len(found.stderr.strip().splitlines()) == 1
    run = ask(shop, "runs")["runs"][0]
    assert (run["status"], run["step"]) == ("error", "sync failing")
    assert run["error"] in found.stderr or how == "ctrl-c"


def test_something_unexpected_is_a_sentence_and_with_debug_a_traceback(tmp_path):
    shop = failing(tmp_path, "zero")
    found = call(shop, "sync", "failing", code=exits.DATA)
    assert "Something unexpected: ZeroDivisionError" in found.stderr
    assert "--debug" in found.stderr
    shown = CliRunner().invoke(app, ["--workspace", str(shop), "sync", "failing", "--debug"])
    assert shown.exit_code == exits.DATA
    assert "Traceback (most recent call last)" in shown.stderr
    assert "failing.py" in shown.stderr


def test_every_kind_of_error_has_its_code():
    assert [exits.exit_code(problem) for problem in (
        DataError("x"), ConfigError("x"), RetryableError("x"), KeyboardInterrupt(), ValueError("x")
    )] == [1, 2, 3, 130, 1]  # fmt: skip


def test_global_options_may_stand_after_the_command(tmp_path):
    shop = make_shop(tmp_path)
    found = CliRunner().invoke(app, ["sync", "shop", "--workspace", str(shop), "--json", "--log-level", "info"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["streams"][0]["rows_in"] == 3


def test_a_folder_inside_the_workspace_will_do(tmp_path):
    shop = make_shop(tmp_path)
    assert ask(shop / "reports" / "pulse", "sync", "shop")["streams"][0]["rows_in"] == 3


def test_no_secret_is_ever_printed(tmp_path, monkeypatch):
    secret = 'Qp"7/canary+Zx=ä9'
    spelt = set(telemetry._spellings(secret))
    assert len(spelt) >= 5
    monkeypatch.setenv("FAILING_TOKEN", secret)
    shop = failing(tmp_path, "zero", 'token = "env:FAILING_TOKEN"')
    said = []
    for args in (["sync", "failing"], ["check"], ["runs"], ["runs", "--json"], ["status"]):
        for options in ([], ["--debug", "--log-level", "debug"], ["--debug", "--log-level", "debug", "--log-json"]):
            said.append(CliRunner().invoke(app, ["--workspace", str(shop), *args, *options]).output)
    everything = "".join(said)
    assert "ZeroDivisionError" in everything
    assert "asking with *****" in everything
    for form in spelt:
        assert form not in everything, form
    for kept in shop.rglob("*"):
        if kept.is_file() and kept.name != ".env":
            assert secret.encode() not in kept.read_bytes(), kept


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    shop = make_shop(tmp_path)
    asked = [str(Path(sys.executable).parent / "signalroom"), "query", "--limit", "0", "select * from range(200000)"]
    with subprocess.Popen(asked, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
    assert said == b""


def test_log_lines_go_where_they_are_asked_for(tmp_path):
    shop = failing(tmp_path, "data", 'token = "env:PATH"')
    lines = call(shop, "sync", "failing", "--log-level", "debug", "--log-json", code=1).stderr.splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert any(line["logger"] == "signalroom.failing" and line["level"] == "debug" for line in logged)
    quiet = call(shop, "sync", "failing", code=1).stderr
    assert "asking" not in quiet


def test_init_makes_a_workspace_and_overwrites_nothing(tmp_path):
    made = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert made.exit_code == 0, made.output
    assert "signalroom check" in made.stdout
    assert (tmp_path / "new" / "signalroom.toml").is_file()
    again = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert again.exit_code == exits.CONFIG
    assert "already holds" in again.stderr
    wrong = CliRunner().invoke(app, ["init", "--template", "affiliate", str(tmp_path / "other"), "--json"])
    assert "Did you mean 'affiliates'?" in wrong.stderr
    assert wrong.stdout == ""
    right = CliRunner().invoke(app, ["init", "--template", "affiliates", str(tmp_path / "other"), "--json"])
    assert "signalroom.toml" in json.loads(right.stdout)["files"]


def test_init_goes_where_workspace_says_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    made = CliRunner().invoke(app, ["--workspace", str(tmp_path / "named"), "init"])
    assert (tmp_path / "named/signalroom.toml").is_file(), made.output
    assert f"to {tmp_path / 'named'}." in made.stdout
    read, reads = Path.read_bytes, iter(range(5))

    def fill(path):
        if next(reads) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fill)
    words = ["init", "--template", "affiliates", str(tmp_path / "full")]
    full = CliRunner().invoke(app, words)
    assert (full.exit_code, full.stderr) == (
        exits.CONFIG, "Error: No space left on device. Make room on that disk, then run it again.\n",
    )  # fmt: skip
    assert not [path for path in (tmp_path / "full").rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert CliRunner().invoke(app, words).exit_code == 0


def test_status_does_not_ask_for_sources_that_are_there(tmp_path):
    call(tmp_path, "init", "--template", "affiliates")
    shown = call(tmp_path, "status")
    assert "no streams yet" not in shown.output
    assert "The streams of everflow are not shown: " in shown.output


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_what_the_file_system_refuses_has_its_mend(number):
    told = exits.as_error(OSError(number, os.strerror(number), "/somewhere"))
    assert str(told).startswith(f"/somewhere: {os.strerror(number)}. ")
    assert told.mend
    assert exits.as_error(OSError(errno.EPROTO, "odd")) is None


def test_the_installed_command_runs_and_returns_its_code(tmp_path):
    command = str(Path(sys.executable).parent / "signalroom")
    done = subprocess.run([command, "status"], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == exits.CONFIG
    assert done.stderr.startswith("Error: There is no signalroom.toml")
    assert root.app.name == "signalroom"
