"""The page about events beside projections is what its program writes now."""

import pytest

from docs import events


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_page_about_events_is_what_its_program_writes(tmp_path, postgres):
    emitted, true, acts = events.play(tmp_path / "workspace", postgres())
    assert events.write(emitted, true, acts) == events.PAGE.read_text(encoding="utf-8"), "run `make events`"
    every, _ = events.compared([one for one in emitted if one.is_committed], true)
    some, _ = events.compared([one for one in emitted if one.name in events.AGREED and one.is_committed], true)
    assert (every, some > 0) == (0, True)
