"""Every due time once, whoever sends and wherever they die: the program that `make proof` runs for very many."""

import pytest

from soak import once


@pytest.mark.slow
@pytest.mark.parametrize("askable", [True, False])
def test_senders_that_are_killed_anywhere_send_each_report_once(tmp_path, askable):
    figures = once.run(tmp_path, due=24, seed=3, askable=askable)
    assert figures.kept, figures
    assert (figures.unknown == 0) == askable, figures
    assert figures.kills >= 2, figures


@pytest.mark.slow
def test_the_law_notices_a_sender_that_does_not_ask(tmp_path, monkeypatch):
    monkeypatch.setattr(once.Inbox, "find", lambda *_: None)
    assert once.run(tmp_path, due=20, seed=3, askable=True).doubled
