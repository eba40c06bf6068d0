"""dbt's own runner, in this process, against the configured warehouse.

**DuckDB.** One process owns the file, and within a process DuckDB gives every ``duckdb.connect`` of one path the
same open database, provided that their configuration is the same. So dbt shares the writer's database, uncommitted
work apart, as long as the writer connected with no config (it uses ``SET``) and the profile has no
``config_options``. A build closes what it opened: the file is free once the writer closes it too.

**Secrets** reach dbt through environment variables that exist while the build runs; the profile on disk names them.

**Time** (2 quiet cores, the affiliates project: 12 models, 12 tests): importing dbt 3 s, once a process; the first
build of a process 2.3 s with a saved parse, 3.9 s without; every further build 1.0 s, 0.15 s of it for artefacts.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signalroom.errors import ConfigError, RetryableError, SignalRoomError
from signalroom.models.artifacts import BuildResult, one_line, read_results, require_success, said, sentence
from signalroom.position import Json

_PROFILE = "signalroom"
_TARGET = "warehouse"
_THREADS = 4
# dbt itself keeps values of variables with this prefix out of its logs and artefacts.
_VARIABLE = "DBT_ENV_SECRET_SIGNALROOM_"
_SECRET_KEY = re.compile(r"pass|secret|token|private_key|credential|api_key|motherduck", re.IGNORECASE)
_JINJA = re.compile(r"\{[{%#]")

# dbt keeps its flags, adapters and event loggers in globals: one build at a time in a process.
_ONE_BUILD = threading.Lock()
_log = logging.getLogger("signalroom.models")


def build(
    models_dir: Path,
    profile_output: Mapping[str, object],
    *,
    target_dir: Path,
    select: str | Sequence[str] | None = None,
    full_refresh: bool = False,
    vars: Mapping[str, Json] | None = None,  # noqa: A002 - dbt's word for it
) -> BuildResult:
    """Build every model and run every test of a dbt project, in dependency order.

    Args:
        models_dir: The folder with ``dbt_project.yml``.
        profile_output: One output of a dbt profile: ``type`` and what that adapter needs.
        target_dir: Where dbt's artefacts, its saved parse and the profile go; nothing is written elsewhere.
        select: What to build, as dbt selects (``daily_performance+``); everything when None.
        full_refresh: Rebuild incremental tables from nothing, where the model allows it.
        vars: Variables of the project.

    Raises:
        ConfigError: The project or the profile cannot be read; the sentence is dbt's.
        DataError: A model or a test failed; the tables of failed models are as they were.
        RetryableError: The warehouse was busy or away.
    """
    result = run(models_dir, profile_output, target_dir=target_dir, select=select, full_refresh=full_refresh, vars=vars)
    require_success(result)
    return result


def run(
    models_dir: Path,
    profile_output: Mapping[str, object],
    *,
    target_dir: Path,
    select: str | Sequence[str] | None = None,
    full_refresh: bool = False,
    vars: Mapping[str, Json] | None = None,  # noqa: A002 - dbt's word for it
) -> BuildResult:
    """Do what :func:`build` does, but return failed models and tests instead of raising: for run history.

    Raises:
        ConfigError: The project or the profile cannot be read; the sentence is dbt's.
        RetryableError: The warehouse could not be reached.
    """
    options: list[str] = []
    if select:
        options += ["--select", *([select] if isinstance(select, str) else select)]
    if full_refresh:
        options.append("--full-refresh")
    if vars:
        options += ["--vars", json.dumps(dict(vars))]
    result, seconds, hide = _invoke("build", options, models_dir, profile_output, target_dir)
    return read_results(getattr(result, "results", ()), seconds, hide)


def parse(models_dir: Path, profile_output: Mapping[str, object], *, target_dir: Path) -> int:
    """Read a dbt project as a build would, without running anything, and return how many models it has.

    Raises:
        ConfigError: The project cannot be read; the sentence is dbt's.
    """
    manifest, _, _ = _invoke("parse", [], models_dir, profile_output, target_dir)
    nodes: Mapping[str, Any] = getattr(manifest, "nodes", {})
    return sum(node.resource_type == "model" for node in nodes.values())


def _invoke(
    verb: str, options: Sequence[str], models_dir: Path, profile_output: Mapping[str, object], target_dir: Path
) -> tuple[Any, float, Callable[[str], str]]:
    """Call dbt once; return its result, the seconds it took and what takes secrets out of its words."""
    models_dir, target_dir = models_dir.resolve(), target_dir.resolve()
    if not (models_dir / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{models_dir} is not a dbt project: it has no dbt_project.yml.",
            mend="`signalroom init --template affiliates` writes one to start from.",
        )
    output, secrets = _by_reference(profile_output)
    hide = _hider(secrets.values())
    with _ONE_BUILD, _variables(secrets):
        target_dir.mkdir(parents=True, exist_ok=True)
        _write_profile(target_dir / "profiles.yml", output)
        started = time.perf_counter()
        try:
            outcome = _runner(hide).invoke([verb, *_arguments(models_dir, target_dir), *options])
        finally:
            _release()
        seconds = time.perf_counter() - started
    if outcome.exception is not None:
        raise _refused(outcome.exception, hide) from None  # dbt's traceback names its own files, not the person's
    return outcome.result, seconds, hide


def _arguments(models_dir: Path, target_dir: Path) -> list[str]:
    """Return the flags of every invocation: where things are, silence, no network, what was parsed kept."""
    return [
        *("--project-dir", str(models_dir), "--profiles-dir", str(target_dir)),
        *("--profile", _PROFILE, "--target", _TARGET),
        *("--target-path", str(target_dir), "--log-path", str(target_dir / "logs")),
        *("--quiet", "--no-print", "--no-use-colors"),
        *("--log-level", "none", "--log-level-file", "none"),
        *("--no-send-anonymous-usage-stats", "--no-version-check"),
        *("--partial-parse", "--cache-selected-only"),
    ]


def _runner(hide: Callable[[str], str]) -> Any:
    """Return dbt's runner; its events go to our log at DEBUG and nowhere else."""
    collecting = gc.isenabled()
    gc.disable()  # importing dbt makes a million objects that all stay: a fifth of it is looking for garbage
    try:
        from dbt.cli.main import dbtRunner
    finally:
        if collecting:
            gc.enable()

    def heard(event: Any) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("dbt %s: %s", event.info.name, hide(str(event.info.msg)))

    return dbtRunner(callbacks=[heard])


def _by_reference(profile_output: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the output with secrets replaced by references, and variable -> secret.

    A value goes by reference when its key names a secret, when it is a secret reference of the workspace (it can
    ``reveal`` itself), or when dbt would read it as a template.
    """
    secrets: dict[str, str] = {}

    def referred(value: str) -> str:
        variable = f"{_VARIABLE}{len(secrets)}"
        secrets[variable] = value
        return f"{{{{ env_var('{variable}') | as_text }}}}"

    def converted(key: str, value: object) -> object:
        reveal = getattr(value, "reveal", None)
        if callable(reveal):
            return referred(str(reveal()))
        if isinstance(value, Mapping):
            return {str(name): converted(str(name), inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [converted(key, inner) for inner in value]
        if isinstance(value, str) and value and (_SECRET_KEY.search(key) or _JINJA.search(value)):
            return referred(value)
        return value

    output = {key: converted(key, value) for key, value in profile_output.items()}
    output.setdefault("threads", _THREADS)
    if output.get("type") == "postgres":
        output.setdefault("password", "")  # dbt insists on one; libpq takes PGPASSWORD or none when it is empty
    return output, secrets


def _hider(values: Iterable[str]) -> Callable[[str], str]:
    """Return a function that takes these values out of a text, the longest first."""
    secrets = sorted((value for value in values if value.strip()), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "*****")
        return text

    return hide


@contextmanager
def _variables(values: Mapping[str, str]) -> Generator[None]:
    """Set environment variables for the time of a build."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _write_profile(path: Path, output: Mapping[str, object]) -> None:
    """Write the profile (JSON is YAML) unless it is there already: dbt parses anew when it changes."""
    text = json.dumps({_PROFILE: {"target": _TARGET, "outputs": {_TARGET: output}}}, indent=1, default=str)
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except FileNotFoundError:
        pass
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _release() -> None:
    """Close the DuckDB database that dbt keeps open between builds, so that the writer's close is the last."""
    connections = sys.modules.get("dbt.adapters.duckdb.connections")
    if connections is None:
        return
    manager = connections.DuckDBConnectionManager
    if manager._ENV is not None:  # noqa: SLF001 - `env()` raises when there is none
        manager.env().close()
    manager.close_all_connections()


def _refused(error: BaseException, hide: Callable[[str], str]) -> SignalRoomError:
    """Return the error for a build that did not start."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    words = hide(one_line(str(error)))
    if "different configuration" in words or "Unique file handle conflict" in words:
        return ConfigError(
            f"dbt cannot share the open DuckDB file: {words}",
            mend="Open the file by its path and with no config, in the profile too; settings are given by SET.",
        )
    if "Could not set lock" in words:
        return RetryableError(
            f"Another process owns the DuckDB file: {words}", mend="Let that process run the build, or stop it."
        )
    passing = said(words)
    if passing is not None:
        return passing
    if type(error).__name__ in {"DbtProfileError", "DbtDatabaseError", "FailedToConnectError"}:
        return ConfigError(
            sentence(f"The warehouse refused the build: {words}"), mend="Mend [warehouse] in signalroom.toml."
        )
    return ConfigError(sentence(f"dbt cannot read the models: {words}"), mend="Mend the file it names and build again.")
