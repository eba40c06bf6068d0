"""What a dbt run did: its run results as records, and the one sentence to say when something in it failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signalroom.errors import DataError, RetryableError, SignalRoomError

_LONGEST_WORDS = 600

# What databases say when the same build may succeed in a minute; anything else a person has to look at.
_PASSING = re.compile(
    r"deadlock detected|could not serialize|lock timeout|server closed the connection|terminating connection"
    r"|connection (?:already closed|refused|timed out|reset)|could not (?:connect|translate host|set lock)"
    r"|the database system is (?:starting up|shutting down|in recovery)|remaining connection slots"
    r"|TransactionContext Error|write-write conflict",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What became of one model.

    Attributes:
        name: The model's name.
        status: ``success``, ``error``, ``skipped`` (something it reads failed), ``partial success`` or ``no-op``.
        rows: Rows the last statement wrote, where the database says so (Postgres); None otherwise.
        seconds: How long it took, compiling included.
        message: The database's words after an error; else what dbt noted, e.g. ``INSERT 0 12``.
        file: Its file inside the models folder.
    """

    name: str
    status: str
    rows: int | None
    seconds: float
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one test.

    Attributes:
        name: The test's name.
        status: ``pass``, ``fail``, ``warn`` (its severity is warn), ``error`` (it could not run) or ``skipped``.
        failures: Rows it found; 0 for one that did not run.
        message: What dbt noted, or the database's words.
        file: The file that declares it, inside the models folder.
    """

    __test__ = False  # pytest collects classes by this name

    name: str
    status: str
    failures: int
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What one build did.

    Attributes:
        models: Each model (snapshots and seeds too), in the order they finished.
        tests: Each test, in the order they finished.
        seconds: Wall time of the whole build, parsing included.
    """

    models: tuple[ModelResult, ...]
    tests: tuple[TestResult, ...]
    seconds: float

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each test that warns: a person should read it, and the build stands."""
        return tuple(
            f"Test {test.name} ({test.file}) warns: {_rows(test.failures)}."
            for test in self.tests
            if test.status == "warn"
        )


def read_results(results: Iterable[Any], seconds: float, hide: Callable[[str], str]) -> BuildResult:
    """Return dbt's run results as records.

    Args:
        results: The ``results`` of dbt's run-results artefact.
        seconds: Wall time of the build.
        hide: Takes secrets out of a text.
    """
    models: list[ModelResult] = []
    tests: list[TestResult] = []
    for result in results:
        node = result.node
        status, file = str(result.status), str(getattr(node, "original_file_path", ""))
        message = hide(_words(result.message or ""))
        if node.resource_type in {"test", "unit_test"}:
            tests.append(TestResult(node.name, status, int(result.failures or 0), message, file))
        else:
            rows = _rows_written(result.adapter_response or {})
            models.append(ModelResult(node.name, status, rows, float(result.execution_time), message, file))
    return BuildResult(tuple(models), tuple(tests), seconds)


def require_success(result: BuildResult) -> None:
    """Raise when a model or a test failed; the sentence names the first and counts the others.

    Raises:
        DataError: A model failed (model, file, the database's words) or a test did (test, failing rows).
        RetryableError: The database says that it was busy or went away.
    """
    models = [model for model in result.models if model.status in {"error", "partial success"}]
    tests = [test for test in result.tests if test.status in {"error", "fail"}]
    failures = [*map(_model_failed, models), *map(_test_failed, tests)]
    if not failures:
        return
    first = failures[0]
    names = [item.name for item in (*models, *tests)][1:]
    if names:
        more = f"{len(names)} more failed: {_list(names)}."
        raise type(first)(f"{first.message} {more}", mend=first.mend)
    raise first


def said(words: str) -> SignalRoomError | None:
    """Return a RetryableError when a database's words tell of something that passes, else None."""
    if _PASSING.search(words) is None:
        return None
    return RetryableError(sentence(f"The warehouse could not serve the build: {words}"))


def _model_failed(model: ModelResult) -> SignalRoomError:
    words = sentence(f"Model {model.name} ({model.file}) failed: {model.message}")
    if said(model.message) is not None:
        return RetryableError(words)
    return DataError(
        words,
        mend="Mend the model, or the data it reads, and build again; its table is as it was.",
    )


def _test_failed(test: TestResult) -> SignalRoomError:
    if test.status == "error":
        return said(test.message) or DataError(
            sentence(f"Test {test.name} ({test.file}) could not run: {test.message}"),
            mend="Mend its SQL and build again.",
        )
    return DataError(
        f"Test {test.name} ({test.file}) found {_rows(test.failures)} it does not allow.",
        mend="Run its SQL to see them (below compiled/ in the build's folder), mend the cause and build again.",
    )


def _words(message: str) -> str:
    """Return what the database said as one line: without dbt's headline, its pointer and the SQL around it."""
    kept: list[str] = []
    for line in message.strip().splitlines():
        text = line.strip()
        if re.match(r"(?:Runtime|Database|Compilation|Internal|Dependency) Error(?: in |$)", text):
            continue
        if text.startswith("compiled code at ") or set(text) <= {"^", "~", " "}:
            continue
        kept.append(text)
    words = re.sub(r"\s+", " ", " ".join(kept))
    return words if len(words) <= _LONGEST_WORDS else f"{words[: _LONGEST_WORDS - 1]}…"


def sentence(text: str) -> str:
    """Return a text that ends as a sentence does."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def one_line(message: str) -> str:
    """Return a message of dbt as one line; a headline that names a file stays, one that says "error" only goes."""
    bare = re.sub(r"^\s*(?:Runtime|Database|Compilation|Internal|Parsing) Error\s*$", "", message, flags=re.MULTILINE)
    return re.sub(r"\s+", " ", bare).strip()


def _rows_written(response: Mapping[str, object]) -> int | None:
    """Return the rows an adapter says it wrote; -1 and nothing at all mean that it does not say."""
    try:
        rows = int(str(response.get("rows_affected", "")))
    except ValueError:
        return None
    return rows if rows >= 0 else None


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} others"
