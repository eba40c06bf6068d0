"""The package seen from outside: its names, its entry points, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterable, Mapping

import pytest

import signalroom
from architecture.house import ROOT, Source, at_import, modules_of, package

pytestmark = pytest.mark.xdist_group("architecture")  # one process parses the tree, once

# Each of these costs more to import than the whole of `signalroom --help` may take.
HEAVY = {
    "alembic", "dbt", "duckdb", "httpx", "jinja2", "mrml", "msgspec", "numpy", "obstore", "orjson", "psycopg",
    "pyarrow", "resvg_py", "rich", "slackblocks", "sqlalchemy", "starlette", "structlog", "temporalio", "uvicorn",
    "zstandard",
}  # fmt: skip

# Modules that import one of them at their top, and why; nothing outside this list imports them at its own top.
CARRIERS: dict[str, str] = {
    "signalroom.engine.activities": "are what a worker of the scheduler runs; only engine.worker imports them",
    "signalroom.engine.connection": "is the door to the scheduler; imported with the resident process",
    "signalroom.engine.operating": "speaks with the scheduler; commands import it when they are called",
    "signalroom.engine.resident": "keeps a worker going; `up` and `worker` import it when they are called",
    "signalroom.engine.schedules": "speaks with the scheduler; imported with the resident process",
    "signalroom.engine.worker": "takes steps from the scheduler; imported with the resident process",
    "signalroom.engine.workflows": "is the scheduler's own kind of code; imported with the worker",
    "signalroom.ledger.alerts": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.archive": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.deliveries": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.figures": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.keys": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.migrations.versions.v0005_api": "run by alembic; `views ddl` imports it when asked",
    "signalroom.ledger.ledger": "opens the database; Room imports it at first use",
    "signalroom.ledger.manifests": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.manifest_source": "it talks to another database; `views import` imports it when asked",
    "signalroom.ledger.migrations.versions.v0004_report_views": "run by alembic; `views ddl` imports it when asked",
    "signalroom.ledger.view_history": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.view_reads": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.view_requests": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.view_tables": "declares tables; Room opens the ledger at first use",
    "signalroom.ledger.migrations.versions.v0001_runs_deliveries_archive": "run by alembic, found by its file name",
    "signalroom.ledger.migrations.versions.v0002_executions_pauses": "run by alembic, found by its file name",
    "signalroom.ledger.migrations.versions.v0007_pulls": "run by alembic, found by its file name",
    "signalroom.ledger.migrations.versions.v0008_schedules": "run by alembic, found by its file name",
    "signalroom.ledger.migrations.versions.v0009_indexes": "run by alembic, found by its file name",
    "signalroom.ledger.schedules": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.pulls": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.pauses": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.migrations.versions.v0003_alerts": "run by alembic, found by its file name",
    "signalroom.ledger.migrations.versions.v0006_failures": "run by alembic, found by its file name",
    "signalroom.ledger.runs": "every function of it talks to the database; Room opens the ledger at first use",
    "signalroom.ledger.store": "is the door to the database; Room opens the ledger at first use",
    "signalroom.ledger.tables": "declares tables; Room opens the ledger at first use",
    "signalroom.ledger.upgrade": "migrates the database; Room opens the ledger at first use",
    "signalroom.reports.stage": "templates are its subject; only the confined child process imports it",
    "signalroom.simulators": "are the outside world; the demo imports them when it starts them",
    "signalroom.simulators.everflow": "answers as strictly as the vendor, by orjson; imported with the simulators",
    "signalroom.simulators.everflow_query": "refuses what is not JSON, by orjson; imported with the simulators",
    "signalroom.simulators.server": "starts the simulators; imported with them",
}

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS = [
    (group, name, target)
    for group, points in {"scripts": PYPROJECT["scripts"], **PYPROJECT["entry-points"]}.items()
    for name, target in points.items()
]


def heavy_at_top(files: Iterable[Source]) -> dict[str, list[str]]:
    """Return the modules that import a heavy library when they are imported, each with the places."""
    found: dict[str, list[str]] = {}
    for one in files:
        for statement in at_import(one.tree):
            heavy = sorted({name.partition(".")[0] for name in modules_of(statement)} & HEAVY)
            if heavy:
                found.setdefault(one.module, []).append(one.at(statement, f"imports {', '.join(heavy)} at its top"))
    return found


def carried(files: Iterable[Source], carriers: Iterable[str]) -> list[str]:
    """Return imports at a module's top that bring in one of ``carriers``; carriers may import one another."""
    listed = set(carriers)
    return [
        one.at(statement, f"imports {', '.join(sorted(brought))} at its top")
        for one in files
        if one.module not in listed
        for statement in at_import(one.tree)
        if (brought := {name for name in _run_by(statement) & listed if not one.module.startswith(f"{name}.")})
    ]


def _run_by(statement: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the modules that run for an import statement: a package runs before what is in it."""
    parts = [name.split(".") for name in modules_of(statement)]
    return {".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}


def public_names(module: types.ModuleType) -> set[str]:
    """Return the names a module shows: neither underscored, nor a module it has imported, nor a future."""
    shown = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "annotations"}
    return {name for name, value in shown.items() if not isinstance(value, types.ModuleType)}


def unresolved(module: types.ModuleType) -> list[str]:
    """Return what a module's ``__all__`` names and the module does not have."""
    return [name for name in module.__all__ if not hasattr(module, name)]


def imported_by(code: str) -> Mapping[str, list[str]]:
    """Run ``code`` in a fresh interpreter; return what it printed and which heavy libraries it had imported."""
    report = f"import json, sys; print(json.dumps(sorted(set(sys.modules) & {HEAVY!r})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {"out": done.stdout.splitlines(), "heavy": json.loads(done.stderr.splitlines()[-1])}


def test_public_names_are_the_list():
    assert unresolved(signalroom) == []
    assert public_names(signalroom) - set(signalroom.__all__) == set()
    assert list(signalroom.__all__) == sorted(set(signalroom.__all__))


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS, ids=str)
def test_entry_points_resolve(group, name, target):
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert callable(found), f"{group}.{name}"


def test_heavy_libraries_are_imported_where_they_are_used():
    found = heavy_at_top(package())
    assert {name: places for name, places in found.items() if name not in CARRIERS} == {}
    assert all(CARRIERS.values())


def test_what_carries_a_heavy_library_is_imported_where_it_is_used():
    assert set(CARRIERS) <= {one.module for one in package()}, "these are gone: take them off the list"
    assert carried(package(), CARRIERS) == []


def test_importing_the_package_is_light():
    assert imported_by("import signalroom")["heavy"] == []


def test_help_is_light():
    seen = imported_by(
        "import sys\n"
        "from signalroom.cli import main\n"
        "sys.argv = ['signalroom', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
    )
    assert seen["heavy"] == []
    assert any(line.startswith("Usage") for line in seen["out"])


def test_each_check_bites():
    def planted(text: str, path: str = "src/signalroom/planted.py") -> list[Source]:
        return [Source(path, text)]

    for text in (
        "import duckdb\n",
        "from pyarrow import parquet as pq\n",
        "import numpy.typing as npt\n",
        "try:\n    import orjson\nexcept ImportError:\n    orjson = None\n",
        "class A:\n    import httpx\n",
    ):
        assert list(heavy_at_top(planted(text))) == ["signalroom.planted"], text
    for text in (
        "def f():\n    import duckdb\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import duckdb\n",
        "import duckdbx\n",
    ):
        assert heavy_at_top(planted(text)) == {}, text
    for text in ("from signalroom.ledger.store import Store\n", "from signalroom.ledger import store\n"):
        assert carried(planted(text), CARRIERS), text
        assert carried(planted(text, "src/signalroom/ledger/runs.py"), CARRIERS) == []
    inside = "from signalroom.packed.other import a\n"
    assert carried(planted(inside, "src/signalroom/planted.py"), ["signalroom.packed"])
    assert carried(planted(inside, "src/signalroom/packed/planted.py"), ["signalroom.packed"]) == []

    module = types.ModuleType("planted")
    module.__dict__.update(__all__=["here", "gone"], here=1, stray=2, ast=ast)
    assert unresolved(module) == ["gone"]
    assert public_names(module) - set(module.__all__) == {"stray"}
    assert imported_by("import zstandard")["heavy"] == ["zstandard"]
