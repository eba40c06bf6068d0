"""Every due time once, whoever sends and wherever they die: the program that `make proof` runs for very many."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from soak import once

pytestmark = pytest.mark.slow
# A process of its own: it forks its senders, which is only safe where no other thread holds a lock.
PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from soak import once
if sys.argv[4]:
    once.Inbox.find = lambda *_: None
print(json.dumps(asdict(once.run(Path(sys.argv[2]), due=24, seed=3, askable=bool(sys.argv[3])))))
"""


def seen(folder, *, askable, blind=False):
    arguments = [str(Path(__file__).parents[1]), str(folder), "yes" * askable, "yes" * blind]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return once.Figures(**json.loads(done.stdout))


@pytest.mark.parametrize("askable", [True, False])
def test_senders_that_are_killed_anywhere_send_each_report_once(tmp_path, askable):
    figures = seen(tmp_path, askable=askable)
    assert figures.kept, figures
    assert (figures.unknown == 0) == askable, figures
    assert figures.kills >= 2, figures


def test_the_law_notices_a_sender_that_does_not_ask(tmp_path):
    assert seen(tmp_path, askable=True, blind=True).doubled
