"""What a command costs before it does anything: the modules it has imported, never milliseconds."""

import json
import subprocess
import sys

import pytest

from signalroom.cli.app import ENTRIES

HEAVY = {
    "alembic", "dbt", "duckdb", "httpx", "jinja2", "mrml", "msgspec", "numpy", "obstore", "orjson", "psycopg",
    "pyarrow", "rich", "sqlalchemy", "starlette", "structlog", "uvicorn", "zstandard",
}  # fmt: skip
CLI = """
import sys
from signalroom.cli import main
sys.argv = ['signalroom', *{args!r}]
try:
    main()
except SystemExit:
    pass
"""


def imported(code):
    """Return the modules a fresh interpreter has imported after ``code``."""
    report = "import json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_brings_nothing_with_it():
    found = imported("import signalroom")
    assert {name for name in found if name.startswith("signalroom")} == {"signalroom"}
    assert not found & (HEAVY | {"click", "logging", "asyncio"})


def test_help_imports_no_command():
    found = imported(CLI.format(args=["--help"]))
    assert not found & HEAVY
    assert not {entry.module for entry in ENTRIES.values()} & found
    assert not {"signalroom.room", "signalroom.steps", "signalroom.workspace", "signalroom.simulators"} & found


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_the_help_of_a_command_imports_nothing_heavy(name):
    assert not imported(CLI.format(args=[name, "--help"])) & HEAVY


def test_a_mistyped_command_costs_no_more_than_help():
    assert not imported(CLI.format(args=["snyc"])) & HEAVY


def test_the_package_runs_as_a_program_too():
    done = subprocess.run(
        [sys.executable, "-m", "signalroom", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("signalroom ")
