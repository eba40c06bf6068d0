"""How commands print: sizes, times, cells, and progress at its own pace."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import click
import pytest

from signalroom.cli import output, progress
from signalroom.run import Progress


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (812, "812 bytes"), (1_000, "1.0 kB"), (9_940, "9.9 kB"), (9_960, "10 kB"), (999_400, "999 kB"),
     (999_600, "1.0 MB"), (218_014_913, "218 MB"), (3e12, "3.0 TB"), (4e15, "4000 TB")],
)  # fmt: skip
def test_sizes(number, text):
    assert output.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (3.14, "3.1 s"), (59.9, "59.9 s"), (59.99, "1 min"), (200, "3 min 20 s"), (7_500, "2 h 5 min"),
     (3_600, "1 h"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert output.duration(seconds) == text


def test_how_long_ago():
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    told = [output.ago(now - timedelta(seconds=s), now) for s in (5, 250, 7_500, 273_600, -5)]
    assert told == ["just now", "4 min ago", "2 h ago", "3 d ago", "in the future"]


def test_counts_and_cells():
    assert (output.count(1, "row"), output.count(1_204, "row"), output.count(2, "pass")) == (
        "1 row", "1,204 rows", "2 passes"
    )  # fmt: skip
    cells = [None, True, Decimal("1.50"), date(2026, 11, 19), "two\r\nlines", ["é", None], {"a": Decimal(1)}]
    assert [output.cell(value) for value in cells] == [
        "", "true", "1.50", "2026-11-19", "two␍␤lines", '["é", null]', '{"a": "1"}'
    ]  # fmt: skip


def test_json_keeps_exact_decimals_and_moments(capsys):
    output.print_json(
        {"m": Decimal("1.10"), "d": date(2026, 1, 2), "t": timedelta(seconds=2), "b": b"\x00\xff", "é": 1}
    )
    assert json.loads(capsys.readouterr().out) == {"m": "1.10", "d": "2026-01-02", "t": 2.0, "b": "00ff", "é": 1}


def a_terminal(monkeypatch, columns):
    monkeypatch.setattr(output, "columns", lambda: columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)


def test_a_remark_takes_what_is_left_of_a_terminals_line_and_goes_where_nothing_is(capsys, monkeypatch):
    rows, remarks = [("daily", "error"), ("hourly", "success")], ["The upstream did not answer; ask again later.", ""]
    a_terminal(monkeypatch, 40)
    output.print_remarked(("job", "status"), rows, remarks)
    assert click.unstyle(capsys.readouterr().out).splitlines() == [
        "job     status", "daily   error    The upstream did not a…", "hourly  success"
    ]  # fmt: skip
    a_terminal(monkeypatch, 30)
    output.print_remarked(("job", "status"), rows, remarks)
    assert "upstream" not in capsys.readouterr().out
    monkeypatch.undo()
    output.print_remarked(("job", "status"), rows, remarks)
    assert remarks[0] in capsys.readouterr().out, "a file has no end of line"


def test_a_long_sentence_is_broken_under_its_beginning(monkeypatch):
    first, said = click.style("✗", fg="red") + " crm  ", "It did not answer in five attempts. Ask again later."
    assert output.indented(first, said) == first + said, "a program reads one line"
    a_terminal(monkeypatch, 40)
    lines = click.unstyle(output.indented(first, said)).split("\n")
    assert lines == ["✗ crm  It did not answer in five", "       attempts. Ask again later."]


class Seconds:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def test_the_pace_of_a_phase():
    clock = Seconds()
    pace = progress.Pace(clock)
    assert pace.describe(Progress("reading", 0, 0)) == ""
    clock.now = 2.0
    assert pace.describe(Progress("reading", 1_200, 4_000_000)) == "1,200 rows, 4.0 MB, 2.0 MB/s"
    told = pace.describe(Progress("reading", 1_200, 4_000_000, 10_000_000))
    assert told == "1,200 rows, 4.0 MB of 10 MB, 2.0 MB/s, 3.0 s left"
    assert pace.describe(Progress("merging", 5, 0, 10_000_000)) == "5 rows, 10 MB", "a new phase starts anew"


def test_lines_come_every_ten_seconds_and_not_before(capsys, caplog):
    clock = Seconds()
    with progress.lines(logged=False, monotonic=clock) as shown:
        for clock.now in (1.0, 5.0, 9.9):
            shown(Progress("reading a.b", 10, 0))
        assert capsys.readouterr() == ("", "")
        for clock.now in (10.1, 12.0, 20.2):
            shown(Progress("reading a.b", 10, 0))
        assert capsys.readouterr() == ("", "reading a.b: 10 rows\nreading a.b: 10 rows\n")
        shown.say("a result")
        assert capsys.readouterr() == ("a result\n", "")
    with caplog.at_level("INFO", "signalroom.progress"), progress.lines(logged=True, monotonic=clock) as shown:
        clock.now = 40.0
        shown(Progress("building the models"))
    assert [record.getMessage() for record in caplog.records] == ["building the models"]
    assert capsys.readouterr().err == ""


def test_the_display_keeps_results_on_standard_output(capsys):
    with progress.display() as shown:
        shown(Progress("reading [a.b]", 10, 2_000, 4_000))
        shown.say("a result")
        shown(Progress("merging", 10))
    assert capsys.readouterr().out == "a result\n"
