"""Find the reports of a workspace: the folders under ``reports/`` and the functions beside them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from signalroom.errors import ConfigError, SignalRoomError, nearest
from signalroom.reports.charts import Chart, read_charts
from signalroom.reports.report import Declared, Report, declared_by
from signalroom.reports.sqlfiles import read_queries, shared_file

SUFFIXES = {
    "slack": ".slack.j2",
    "email": ".email.mjml",
    "sms": ".sms.j2",
    "subject": ".subject.j2",
    "text": ".text.j2",
}
"""Form of a message -> ending of its template."""

SHIPPED: Final = Path(__file__).with_name("shipped")
"""Where the parts are that every report may include: a part of the same name in ``reports/`` takes their place."""

HANDED: Final = ("alert", "digest")
"""Reports whose rows are handed over instead of queried: they ship, and a folder in ``reports/`` takes their place."""

_SENT = ("slack", "email", "sms")
_TEMPLATE_ENDINGS = (".j2", ".jinja", ".jinja2", ".mjml")


def find_reports(root: Path) -> Mapping[str, Report]:
    """Return the reports of the workspace at ``root``: name -> report, in the order of their names.

    Reads ``root/reports``: each folder is a report, each function marked ``@report`` in a ``*.py`` another, with
    its templates in the folder of its name. Folders and files that start with ``_`` or ``.`` hold shared parts.

    Raises:
        ConfigError: A folder without SQL or template, a misspelt template, a name declared twice, a module that
            cannot be imported.
    """
    home = root / "reports"
    if not home.is_dir():
        return {}
    declared = _declared(home)
    shared = {**_parts(SHIPPED), **_parts(home)}
    folders = {entry.name: entry for entry in home.iterdir() if entry.is_dir() and entry.name[0] not in "_."}
    folders = {name: folder for name, folder in folders.items() if name not in HANDED}
    for name, found in declared.items():
        if name not in folders:
            raise ConfigError(
                f"The report {name!r} ({found.function.__name__}) has no templates.",
                mend=f"Put one, e.g. {name}.slack.j2, into the folder reports/{name}/.",
            )
    return {name: _read(name, folders[name], declared.get(name), shared) for name in sorted(folders)}


def handed_report(root: Path, name: str) -> Report:
    """Return one of :data:`HANDED`, the workspace's own templates before those that ship.

    Raises:
        ConfigError: A misspelt template.
    """
    home = root / "reports"
    own = (home / name).is_dir()
    folder = home / name if own else SHIPPED / name
    shared = {**_parts(SHIPPED), **(_parts(home) if home.is_dir() else {})}
    templates = _templates(name, folder, f"reports/{name}")
    return Report(name, folder, _title(name), (), templates, {**shared, **_parts(folder)})


def _read(name: str, folder: Path, declared: Declared | None, shared: Mapping[str, Path]) -> Report:
    where = f"reports/{name}"
    templates = _templates(name, folder, where)
    sql = folder / f"{name}.sql"
    if declared is not None and sql.exists():
        raise ConfigError(
            f"The report {name!r} is both {where}/{name}.sql and a function.", mend="Keep one of the two."
        )
    if declared is None and not sql.exists():
        others = sorted(path.name for path in folder.glob("*.sql"))
        raise ConfigError(
            f"The report {name!r} has no {where}/{name}.sql.",
            mend=nearest(sql.name, others) or "Write its queries there, or mark a function @report.",
        )
    queries, values = read_queries(sql, f"{where}/{name}.sql") if declared is None else ((), {})
    charts = _charts(folder, where)
    known = [query.name for query in queries]
    for chart in charts:
        if declared is None and chart.data not in known:
            raise ConfigError(
                f"{where}/charts.toml: the chart {chart.name!r} shows {chart.data!r}, which is no query.",
                mend=nearest(chart.data, known),
            )
    title = (declared.title if declared else "") or _title(name)
    return Report(name, folder, title, queries, templates, {**shared, **_parts(folder)}, charts, declared, values)


def _templates(name: str, folder: Path, where: str) -> dict[str, Path]:
    wanted = {f"{name}{suffix}": form for form, suffix in SUFFIXES.items()}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name[0] in "_." or not path.name.endswith(_TEMPLATE_ENDINGS):
            continue
        if path.name not in wanted:
            raise ConfigError(
                f"{where}/{path.name} is no template of the report {name!r}.",
                mend=nearest(path.name, wanted) or f"Templates are called {', '.join(wanted)}.",
            )
        found[wanted[path.name]] = path
    if not any(form in found for form in _SENT):
        raise ConfigError(
            f"The report {name!r} has no template to send.",
            mend="Write one of " + ", ".join(f"{where}/{name}{SUFFIXES[form]}" for form in _SENT) + ".",
        )
    return found


def _parts(folder: Path) -> dict[str, Path]:
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name.startswith("_") and path.name.endswith(_TEMPLATE_ENDINGS)
    }


def _charts(folder: Path, where: str) -> tuple[Chart, ...]:
    path = folder / "charts.toml"
    if not path.exists():
        return ()
    place = f"{where}/charts.toml"
    return read_charts(
        path.read_text(encoding="utf-8"), place, lambda name: shared_file(folder, name, place).read_text("utf-8")
    )


def _title(name: str) -> str:
    # A word without a vowel is an abbreviation (CCW), and reads better in capitals.
    words = name.split("_")
    return " ".join(word.upper() if not set(word) & set("aeiouy") else word.capitalize() for word in words)


def _declared(home: Path) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    for path in sorted(home.glob("*.py")):
        if path.name[0] in "_.":
            continue
        for declared in _in_module(path):
            if declared.name in found:
                raise ConfigError(
                    f"reports/{path.name} declares a second report {declared.name!r}.", mend="Give each its own name."
                )
            found[declared.name] = declared
    return found


def _in_module(path: Path) -> Iterator[Declared]:
    import importlib.util

    # The name carries the path's hash: two workspaces in one process may both have a reports/pulse.py.
    tag = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"signalroom_workspace_{tag}_{path.stem}", path)
    if spec is None or spec.loader is None:  # pragma: no cover - a *.py file always has a loader
        raise ConfigError(f"reports/{path.name} cannot be imported.", mend="Rename it to a plain *.py file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except SignalRoomError:
        del sys.modules[module.__name__]
        raise
    except Exception as error:  # a workspace's own code may raise anything; its author must edit it
        del sys.modules[module.__name__]
        raise ConfigError(
            f"reports/{path.name} cannot be imported: {type(error).__name__}: {error}.", mend="Mend that module."
        ) from error
    seen: set[int] = set()
    for value in vars(module).values():
        declared = declared_by(value)
        # A report imported from another module is that module's to declare.
        mine = declared is not None and declared.function.__module__ == module.__name__
        if declared is not None and mine and id(declared) not in seen:
            seen.add(id(declared))
            yield declared
