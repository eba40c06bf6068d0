"""Conversion of TOML onto settings: literal types, paths in errors, references, injected values."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from signalroom.clock import SystemClock
from signalroom.errors import ConfigError
from signalroom.workspace.convert import Context, convert, problems
from signalroom.workspace.settings import Secret, injected, setting


@dataclasses.dataclass(frozen=True, slots=True)
class Sub:
    """A nested table."""

    name: str = injected()
    path: str = setting("Path.")
    write: Literal["append", "merge"] = setting("How.", default="append")
    level: Literal[1, 2] = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Everything:
    """One setting of each type."""

    name: str = injected()
    root: Path = injected()
    clock: object = injected(None)
    text: str = setting("Text.", default="")
    count: int = setting("Count.", default=0)
    rate: float = setting("Rate.", default=0.0)
    flag: bool = setting("Flag.", default=False)
    day: date = setting("Day.", default=date(2000, 1, 1))
    moment: datetime | None = setting("Moment.", default=None)
    money: Decimal = setting("Money.", default=Decimal(0))
    folder: Path = setting("Folder.", default=Path())
    maybe: int | None = setting("Maybe.", default=None)
    either: str | list[str] = setting("Either.", default="")
    names: list[str] = setting("Names.", factory=list)
    ids: tuple[int, ...] = setting("Ids.", default=())
    pair: tuple[str, int] = setting("Pair.", default=("", 0))
    order: Sequence[str] = setting("Order.", default=())
    streams: dict[str, Sub] = setting("Streams.", factory=dict)
    sub: Sub | None = setting("Sub.", default=None)
    subs: list[Sub] = setting("Subs.", factory=list)
    extra: Mapping[str, Any] = setting("Extra.", factory=dict)
    key: Secret | None = setting("Key.", default=None)
    keys: list[Secret] = setting("Keys.", factory=list)
    own: Secret = setting("Own.", default=Secret("env:OWN"))


def context(**environ: str) -> Context:
    return Context("it", Path("/w"), "UTC", SystemClock(), environ)


def made(table: Mapping[str, Any], **environ: str) -> Everything:
    return convert(Everything, table, "sources.it", context(**environ))


def refused(table: Mapping[str, Any], **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        made(table, **environ)
    return str(caught.value)


def test_every_type():
    it = made(
        {
            "text": "x", "count": 3, "rate": 2, "flag": True, "day": date(2026, 1, 2),
            "moment": datetime(2026, 1, 2, 3), "money": "1.10", "folder": "data", "maybe": 4, "either": ["a"],
            "names": ["a"], "ids": [1, 2], "pair": ["a", 1], "order": ["b"],
            "streams": {"orders": {"path": "o/*", "write": "merge"}}, "sub": {"path": "p"}, "subs": [{"path": "q"}],
            "extra": {"any": [1]},
        }
    )  # fmt: skip
    assert (it.text, it.count, it.rate, it.flag, it.day) == ("x", 3, 2.0, True, date(2026, 1, 2))
    assert (it.moment, it.money, it.folder, it.maybe) == (datetime(2026, 1, 2, 3), Decimal("1.10"), Path("/w/data"), 4)
    assert (it.either, it.names, it.ids, it.pair, it.order) == (["a"], ["a"], (1, 2), ("a", 1), ("b",))
    assert it.streams["orders"] == Sub("orders", "o/*", "merge")
    assert it.sub == Sub("it", "p")
    assert it.subs == [Sub("it", "q")]
    assert it.extra == {"any": [1]}
    assert type(it.rate) is float


def test_injected_values_come_from_the_workspace():
    it = made({})
    assert (it.name, it.root, type(it.clock)) == ("it", Path("/w"), SystemClock)
    assert "sources.it.name: the workspace fills this in." in refused({"name": "other"})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"count": "3"}, "sources.it.count: expected int, got str '3'."),
        ({"count": True}, "sources.it.count: expected int, got bool True."),
        ({"count": 3.0}, "sources.it.count: expected int, got float 3.0."),
        ({"text": 3}, "sources.it.text: expected str, got int 3."),
        ({"flag": 1}, "sources.it.flag: expected bool, got int 1."),
        ({"flag": "yes"}, "sources.it.flag: expected bool, got str 'yes'."),
        ({"rate": "2"}, "sources.it.rate: expected float, got str '2'."),
        ({"day": datetime(2026, 1, 2)}, "sources.it.day: expected date, got datetime 2026-01-02T00:00:00."),
        ({"day": "2026-01-02"}, "sources.it.day: expected date, got str '2026-01-02'."),
        ({"money": "a"}, "sources.it.money: expected a decimal number, got str 'a'."),
        ({"maybe": "4"}, "sources.it.maybe: expected int, got str '4'."),
        ({"either": 4}, "sources.it.either: expected str or list of str, got int 4."),
        ({"names": "a"}, "sources.it.names: expected a list, got str 'a'. Put it in square brackets."),
        ({"names": ["a", 2]}, "sources.it.names[1]: expected str, got int 2."),
        ({"ids": [1, "2"]}, "sources.it.ids[1]: expected int, got str '2'."),
        ({"pair": ["a"]}, "sources.it.pair: expected a list of 2 values, got a list."),
        ({"streams": {"o": {}}}, "sources.it.streams.o: the setting 'path' is missing."),
        ({"streams": {"o": {"path": 1}}}, "sources.it.streams.o.path: expected str, got int 1."),
        ({"streams": {"o": 1}}, "sources.it.streams.o: expected a table, got int 1."),
        ({"streams": []}, "sources.it.streams: expected a table, got a list."),
        (
            {"streams": {"o": {"path": "p", "write": "mrege"}}},
            "sources.it.streams.o.write: expected 'append' or 'merge', got str 'mrege'. Did you mean 'merge'?",
        ),
        ({"sub": {"path": "p", "level": True}}, "sources.it.sub.level: expected 1 or 2, got bool True."),
        ({"subs": [{"pth": "p"}]}, "sources.it.subs[0]: unknown setting 'pth'. Did you mean 'path'?"),
        ({"cuont": 1}, "sources.it: unknown setting 'cuont'. Did you mean 'count'?"),
        ({"key": "hunter2"}, "sources.it.key: a secret is never written in signalroom.toml."),
        ({"key": 3}, "a secret is never written"),
        ({"text": "env:"}, "sources.it.text: a reference must name one environment variable."),
        ({"text": "env:A and more"}, "a reference must name one environment variable."),
        ({"text": "env:NOPE"}, "sources.it.text: the environment variable NOPE is not set. Export NOPE or"),
        ({"names": ["env:NOPE"]}, "sources.it.names[0]: the environment variable NOPE is not set."),
        ({"count": "env:WORD"}, "sources.it.count: expected int, and the variable WORD does not hold one."),
        ({"flag": "env:WORD"}, "sources.it.flag: expected bool, and the variable WORD does not hold one."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_path(table, expected):
    shown = refused(table, WORD="hidden-word")
    assert expected in shown
    assert "hunter2" not in shown
    assert "hidden-word" not in shown


def test_missing_settings_show_how_they_are_written():
    @dataclasses.dataclass
    class Needs:
        key: Secret = setting("Key.", example='"env:KEY"')
        size: int = setting("Size.", example="size = 3")
        bare: int = setting("Bare.")

    found = [str(problem) for problem in problems(Needs, {}, "sources.n", context())]
    assert found == [
        "sources.n: the setting 'key' is missing. Write key = \"env:KEY\" under [sources.n].",
        "sources.n: the setting 'size' is missing. Write size = 3 under [sources.n].",
        "sources.n: the setting 'bare' is missing. Write bare = ... under [sources.n].",
    ]
    with pytest.raises(ConfigError, match=r"\(2 more problems: `signalroom check` lists them all\.\)"):
        convert(Needs, {}, "sources.n", context())


def test_references_are_read_as_the_settings_type():
    it = made(
        {"text": "env:T", "count": "env:N", "flag": "env:F", "day": "env:D", "maybe": "env:N", "folder": "env:T"},
        T="v", N="7", F="true", D="2026-01-02",
    )  # fmt: skip
    assert (it.text, it.count, it.flag, it.day, it.maybe) == ("v", 7, True, date(2026, 1, 2), 7)
    assert it.folder == Path("/w/v")


def test_lists_from_one_variable():
    expected = ["a@x.io", "b@x.io"]
    assert made({"names": ["env:TO"]}, TO="a@x.io, b@x.io,").names == expected
    assert made({"names": "env:TO"}, TO="a@x.io,b@x.io").names == expected
    assert made({"names": ["c@x.io", "env:TO"]}, TO="a@x.io").names == ["c@x.io", "a@x.io"]
    assert made({"ids": ["env:IDS"]}, IDS="1,2").ids == (1, 2)
    assert "sources.it.ids[0]: expected int, and the variable IDS" in refused({"ids": ["env:IDS"]}, IDS="1,x")


def test_secrets_stay_references_until_revealed():
    it = made({"key": "env:K", "keys": ["env:K", "env:NOPE"]}, K="v,w", OWN="mine")
    assert it.key is not None
    assert it.key.reveal() == "v,w"
    assert [secret.reference for secret in it.keys] == ["env:K", "env:NOPE"]
    assert it.own.reveal() == "mine"
    with pytest.raises(ConfigError, match="NOPE is not set"):
        it.keys[1].reveal()
    assert [str(p) for p in problems(Everything, {"key": "env:NOPE"}, "x", context())] == [
        "x.key: the environment variable NOPE is not set. Export NOPE or put it in the workspace's .env file."
    ]


def test_a_plugin_that_hides_its_types_or_asks_for_too_much():
    hidden = dataclasses.make_dataclass("Hidden", [("x", "Nowhere")])
    asks = dataclasses.make_dataclass("Asks", [("planet", str, injected())])
    with pytest.raises(ConfigError, match="annotates a setting with 'Nowhere'"):
        convert(hidden, {"x": 1}, "p", context())
    with pytest.raises(ConfigError, match="asks the workspace for 'planet'"):
        convert(asks, {}, "p", context())
