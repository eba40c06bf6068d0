"""The workspace file: what is right is read, what is wrong is told, all of it, and no secret is shown."""

import dataclasses
import traceback
from pathlib import Path

import pytest

from signalroom.errors import ConfigError
from signalroom.workspace.settings import Secret, injected, setting
from signalroom.workspace.workspace import Workspace

AFFILIATES = """
name = "affiliates"
timezone = "America/New_York"
[warehouse]
kind = "pond"
path = ".signalroom/w.db"
[lake]
url = ".signalroom/lake"
[sources.feed]
kind = "feed"
api_key = "env:FEED_API_KEY"
lookback_days = 3
[channels.outbox]
kind = "box"
[channels.ops]
kind = "box"
to = ["env:OPS_TO"]
[jobs.hourly]
schedule = "15 7-23 * * *"
steps = ["sync feed --window today", "build", "refresh"]
[jobs.daily]
schedule = "0 7 * * *"
timezone = "Europe/London"
after = ["hourly"]
steps = ["sync feed.orders", "report daily_ccw"]
[reports.daily_ccw]
channels = ["outbox"]
[alerts]
channel = "ops"
"""

SOURCE = '''
from dataclasses import dataclass
from signalroom.workspace.settings import Secret, injected, setting

@dataclass(frozen=True)
class Feed:
    """A feed."""
    name: str = injected()
    timezone: str = injected()
    api_key: Secret = setting("The key.", example='"env:FEED_API_KEY"')
    lookback_days: int = setting("Days.", default=1)
    def streams(self): ...
    def read(self, stream, since, window): ...
'''

CHANNEL = '''
from dataclasses import dataclass
from signalroom.workspace.settings import setting

@dataclass(frozen=True)
class Outbox:
    """A box."""
    kind = "box"
    to: list[str] = setting("Who.", factory=list)
    def recipients(self): ...
    def send(self, message, recipient, key): ...
'''

WAREHOUSE = '''
from dataclasses import dataclass
from signalroom.workspace.settings import setting

@dataclass
class Pond:
    """A pond."""
    path: str = setting("Where.")
    def merge(self): ...
    def query(self): ...
'''

ENVIRON = {"FEED_API_KEY": "k-canary-1", "OPS_TO": "a@x.io, b@x.io"}


@pytest.fixture
def make(tmp_path):
    """Return a maker of workspaces: its TOML, plus the plugins and the report that AFFILIATES names."""

    def build(toml: str = AFFILIATES, env: str = "") -> Path:
        files = {
            "signalroom.toml": toml,
            "sources/feed.py": SOURCE,
            "channels/outbox.py": CHANNEL,
            "warehouses/pond.py": WAREHOUSE,
            "reports/daily_ccw/daily_ccw.sql": "select 1",
        }
        for name, text in (files | ({".env": env} if env else {})).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return build


def test_a_right_workspace_is_read(make):
    workspace = Workspace.load(make(), ENVIRON)
    assert (workspace.name, workspace.timezone) == ("affiliates", "America/New_York")
    assert workspace.sources["feed"].kind == "feed"
    assert workspace.sources["feed"].settings == {"api_key": "env:FEED_API_KEY", "lookback_days": 3}
    assert workspace.warehouse.path == "warehouse"
    assert workspace.ledger.settings["url"] == ".signalroom/ledger.sqlite"
    assert workspace.jobs["hourly"].timezone == "America/New_York"
    assert workspace.jobs["daily"].timezone == "Europe/London"
    assert [step.text for step in workspace.jobs["hourly"].steps] == ["sync feed --window today", "build", "refresh"]
    assert workspace.jobs["daily"].after == ("hourly",)
    assert workspace.reports["daily_ccw"].channels == ("outbox",)
    assert workspace.alerts.channel == "ops"
    assert Workspace.problems(workspace.root, ENVIRON) == []


def test_it_is_found_from_a_folder_below(make):
    root = make()
    (root / "models" / "deep").mkdir(parents=True)
    assert Workspace.load(root / "models" / "deep", ENVIRON).root == root


def test_no_workspace_at_all(tmp_path):
    with pytest.raises(ConfigError, match=r"no signalroom\.toml in .* `signalroom init`"):
        Workspace.load(tmp_path, {})
    assert len(Workspace.problems(tmp_path, {})) == 1


def test_a_part_is_converted_when_it_is_opened(make):
    workspace = Workspace.load(make(), ENVIRON)
    feed = workspace.create(workspace.sources["feed"])
    assert (feed.name, feed.timezone, feed.lookback_days) == ("feed", "America/New_York", 3)
    assert feed.api_key.reveal() == "k-canary-1"
    assert workspace.create(workspace.channels["ops"]).to == ["a@x.io", "b@x.io"]


def test_loading_needs_no_plugin_and_no_variable(make):
    root = make()
    (root / "sources" / "feed.py").write_text("raise RuntimeError('imported')\n")
    workspace = Workspace.load(root, {})
    assert [(r.path, r.variable, r.is_set) for r in workspace.references()] == [
        ("sources.feed.api_key", "FEED_API_KEY", False),
        ("channels.ops.to[0]", "OPS_TO", False),
    ]


def test_dot_env_is_read_and_the_environment_wins(make):
    env = "\ufeff# keys\nexport FEED_API_KEY=\"from file\"  # why\nOPS_TO='x # y'\nPLAIN=a#b # note\nEMPTY=\n"
    workspace = Workspace.load(make(env=env), {"OPS_TO": "process"})
    assert workspace.environ["FEED_API_KEY"] == "from file"
    assert workspace.environ["OPS_TO"] == "process"
    assert (workspace.environ["PLAIN"], workspace.environ["EMPTY"]) == ("a#b", "")


def test_broken_lines_of_dot_env_are_named_by_number_only(make):
    root = make(env="GOOD=1\ncanary-secret\nOPEN='canary-secret\n")
    with pytest.raises(ConfigError, match=r"\.env, line 2") as caught:
        Workspace.load(root, {})
    assert "1 more problem" in str(caught.value)
    assert "canary" not in str(caught.value) + "".join(Workspace.problems(root, {}))


def test_toml_errors_name_the_line(make):
    with pytest.raises(ConfigError, match=r"signalroom\.toml, line 2: .*Mend the TOML"):
        Workspace.load(make('name = "x"\ntimezone = America\n'), {})
    with pytest.raises(ConfigError, match="at the end"):
        Workspace.load(make('name = "x'), {})


def test_a_file_that_is_no_text(make):
    root = make()
    (root / "signalroom.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        Workspace.load(root, {})


BROKEN = """
nmae = "affiliates"
timezone = "America/New_Yrok"
lake = 3
[source.feed]
[warehouse]
kind = "dukdb"
[sources.feed]
kind = "feed"
api_key = "canary-secret"
lookback = "3"
[sources.Bad-Name]
kind = "feed"
[sources.signalroom]
kind = "feed"
[sources.plain]
[channels.outbox]
kind = "bix"
[channels.ops]
kind = "box"
to = "a@x.io"
[jobs.hourly]
schedule = "15 25 * * *"
steps = ["snyc feed", "sync fed", "sync feed --windw today", "report dayly_ccw", "run nightly"]
after = ["daly"]
retrys = 3
[jobs.second]
schedule = "0 25 * * *"
steps = ["snyc feed", "sync fed", "sync feed --windw today", "report dayly_ccw", "run nightly"]
after = ["daly"]
alert = "opps"
overlap = "skipp"
[jobs.third]
schedule = "0 25 * * *"
steps = ["snyc feed", "sync fed", "sync feed --windw today", "report dayly_ccw", "run nightly"]
after = ["secnd"]
alert = "opps"
timezone = "UTCC"
[reports.daily_cww]
channels = ["outbx"]
[alerts]
channel = "opps"
"""


def test_every_problem_is_listed_with_its_mend(make):
    root = make(BROKEN)
    (root / "schemas").mkdir()
    (root / "schemas" / "fed.orders.toml").write_text('[columns]\nid = "bigit"\n')
    problems = Workspace.problems(root, {})
    text = "\n".join(problems)
    for expected in (
        "unknown section 'nmae'. Did you mean 'name'?",
        "name: it is missing.",
        "timezone: unknown time zone 'America/New_Yrok'. Did you mean 'America/New_York'?",
        "lake: expected a table, got int 3.",
        "unknown section 'source'. Did you mean 'sources'?",
        "warehouse: unknown kind of warehouse 'dukdb'. Did you mean 'duckdb'?",
        "sources.feed.api_key: a secret is never written",
        "sources.feed: unknown setting 'lookback'. Did you mean 'lookback_days'?",
        "sources.Bad-Name: a name is lower case",
        "sources.signalroom: the name is taken",
        "sources.plain: the kind is missing.",
        "channels.outbox: unknown kind of channel 'bix'. Did you mean 'box'?",
        "channels.ops.to: expected a list, got str 'a@x.io'.",
        "jobs.hourly: unknown setting 'retrys'. Did you mean 'retries'?",
        "jobs.second.overlap: expected 'skip' or 'queue' or 'cancel', got str 'skipp'. Did you mean 'skip'?",
        "jobs.third.steps[0]: unknown step 'snyc'. Did you mean 'sync'?",
        "jobs.third.steps[1]: unknown source 'fed'. Did you mean 'feed'?",
        "jobs.third.steps[2]: sync has no option '--windw'. Did you mean '--window'?",
        "jobs.third.steps[3]: unknown report 'dayly_ccw'. Did you mean 'daily_ccw'?",
        "jobs.third.steps[4]: unknown job 'nightly'.",
        "jobs.third.after[0]: unknown job 'secnd'. Did you mean 'second'?",
        "jobs.third.alert: unknown channel 'opps'. Did you mean 'ops'?",
        "jobs.third.timezone: unknown time zone 'UTCC'.",
        "reports.daily_cww: unknown report 'daily_cww'. Did you mean 'daily_ccw'?",
        "reports.daily_cww.channels[0]: unknown channel 'outbx'. Did you mean 'outbox'?",
        "alerts.channel: unknown channel 'opps'. Did you mean 'ops'?",
        "schemas/fed.orders.toml: unknown source 'fed'.",
        "schemas/fed.orders.toml.id.type: unknown type 'bigit'. Did you mean 'bigint'?",
    ):
        assert expected in text, expected
    assert "canary" not in text
    assert all(problem[-1] in ".?)" and " " in problem for problem in problems)
    with pytest.raises(ConfigError, match=r"more problems: `signalroom check`"):
        Workspace.load(root, {})


def test_schedules_are_checked(make):
    toml = AFFILIATES.replace("15 7-23 * * *", "15 7-25 * * *")
    with pytest.raises(ConfigError, match=r"jobs\.hourly\.schedule: hour 25 is out of range"):
        Workspace.load(make(toml), ENVIRON)


def test_jobs_in_a_circle(make):
    toml = AFFILIATES.replace('steps = ["sync feed --window today"', 'after = ["daily"]\nsteps = ["build"')
    with pytest.raises(ConfigError, match=r"in a circle \(hourly -> daily -> hourly\)"):
        Workspace.load(make(toml), ENVIRON)


def test_variables_that_are_not_set_are_problems_but_do_not_stop_a_load(make):
    root = make()
    Workspace.load(root, {})
    mend = "Export {0} or put it in the workspace's .env file."
    assert Workspace.problems(root, {}) == [
        f"{path}: the environment variable {name} is not set. {mend.format(name)}"
        for path, name in (("sources.feed.api_key", "FEED_API_KEY"), ("channels.ops.to[0]", "OPS_TO"))
    ]


@pytest.mark.parametrize(
    "literal",
    [
        "xoxb-1234567890-canary",
        "AKIACANARYCANARY1234",
        "postgresql://report:canary@db.example.com/app",
        "host=db password=canary dbname=app",
        "https://hooks.slack.com/services/T0/B0/canary",
        "-----BEGIN RSA PRIVATE KEY-----canary",
    ],
)
@pytest.mark.parametrize("place", ['[lake]\nurl = "{}"', '[lake]\nkeys = ["{}"]', '[lake]\n"{}" = 1', '"{}" = 1'])
def test_literals_that_look_like_secrets_are_refused_and_never_shown(make, literal, place):
    root = make('name = "x"\ntimezone = "UTC"\n[warehouse]\nkind = "pond"\npath="p"\n' + place.format(literal))
    if place.startswith('"'):
        root = make(place.format(literal) + '\nname = "x"\ntimezone = "UTC"\n')
    with pytest.raises(ConfigError, match=r"looks like an? .*env:NAME") as caught:
        Workspace.load(root, {})
    shown = str(caught.value) + "".join(Workspace.problems(root, {}))
    assert "canary" not in shown.lower()


def test_plain_values_are_not_taken_for_secrets(make):
    toml = AFFILIATES + '[ledger]\nurl = "postgresql://db.example.com:5432/app"\n'
    Workspace.load(make(toml.replace(".signalroom/lake", "s3://bucket/prefix@v2:x")), ENVIRON)


def test_no_value_is_ever_shown(make):
    canary = "canary-7f3a"
    workspace = Workspace.load(make(env=f"FEED_API_KEY={canary}\nOPS_TO={canary}\n"), {"OTHER": canary})
    feed = workspace.create(workspace.sources["feed"])
    shown = f"{workspace!r} {workspace} {workspace.references()} {workspace.context(workspace.lake)!r} {feed!r}"
    assert canary not in shown
    assert str(feed.api_key) == "env:FEED_API_KEY"


@dataclasses.dataclass(frozen=True)
class Picky:
    """A plugin whose own check shows the value it was given."""

    name: str = injected()
    url: str = setting("Where.")
    port: int = setting("Port.", default=1)
    key: Secret = setting("Key.", default=Secret("env:PICKY_KEY"))

    def __post_init__(self):
        if "://" not in self.url:
            raise ValueError(f"cannot parse {self.url}")


def test_errors_never_show_a_value_from_the_environment(make):
    from signalroom.workspace.convert import convert

    workspace = Workspace.load(make(), {"URL": "canary-url", "PORT": "canary-port"})
    context = workspace.context(workspace.lake)
    for table in ({"url": "env:URL"}, {"url": "a://b", "port": "env:PORT"}):
        with pytest.raises(ConfigError) as caught:
            convert(Picky, table, "sources.p", context)
        shown = "".join(traceback.format_exception_only(caught.value))
        assert "canary" not in shown
        assert "sources.p" in shown
