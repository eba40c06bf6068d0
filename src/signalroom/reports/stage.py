"""Inside the process that renders: the sandbox, and the way from a request to the forms of a message.

Nothing here is trusted with secrets or files: :mod:`signalroom.reports.worker` runs it without the environment of its
parent and under limits, because Jinja's sandbox keeps templates from Python's internals, not from using up a machine.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jinja2 import (
    FunctionLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from signalroom import smstext
from signalroom.blocktext import as_text
from signalroom.errors import ConfigError, DataError, SignalRoomError, nearest
from signalroom.position import Json
from signalroom.reports import charts, formats, mjml, plain
from signalroom.reports.blocks import Composer
from signalroom.reports.notes import Notes, with_notes

ESCAPED: Final = frozenset({"slack", "email"})
_KEPT_ENVIRONMENTS: Final = 64
_UNKNOWN: Final = re.compile(r"'(?P<variable>\w+)' is undefined|has no (?:attribute|element) '(?P<column>\w+)'")


class Record:
    """A row as templates see it: ``row.column``; no column name collides with a method, an unknown one is an error."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def __getitem__(self, column: str) -> Any:
        return self._columns[column]

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Stage:
    """Renders requests; keeps the compiled templates of the last reports.

    Args:
        at: Told the name of each template or chart before it is worked on.
    """

    def __init__(self, at: Callable[[str], None] = lambda _: None) -> None:
        self._at = at
        self._environments: OrderedDict[str, dict[bool, Any]] = OrderedDict()

    def render(self, request: Mapping[str, Any], output_chars: int) -> dict[str, Json]:
        """Return ``subject``, ``text``, ``html``, ``blocks``, ``sms`` and ``images`` of a request.

        Args:
            request: ``report``, ``title``, ``sources`` (file name -> text), ``forms`` (form -> file name), ``charts``
                (declarations), ``variables`` (what templates see).
            output_chars: Characters that one template may write.

        Raises:
            ConfigError: A template that its author must edit, with its line.
            DataError: A message that these rows make too large for its channel.
        """
        environments = self._environment(request["sources"])
        forms, sources = request["forms"], request["sources"]
        variables = {name: _seen(value) for name, value in request["variables"].items()}
        images, variables["charts"] = self._charts(request, environments[True])

        def fill(form: str, **more: object) -> str:
            name = forms[form]
            self._at(name)
            environment, notes = environments[form in ESCAPED], Notes(request["variables"].get("notes", ()))
            text = _fill(environment, name, {**variables, "notes": notes, **more}, output_chars)
            return with_notes(form, text, notes, environment)

        made: dict[str, Json] = {"images": images, "blocks": [], "html": "", "sms": ""}
        made["subject"] = " ".join(fill("subject").split()) if "subject" in forms else request["subject"]
        if "slack" in forms:
            composer = Composer()
            made["blocks"] = composer.blocks(fill("slack", **composer.functions()), forms["slack"])
        if "sms" in forms:
            made["sms"] = smstext.fit(fill("sms"), forms["sms"])
        if "email" in forms:
            for name in (forms["email"], *(part for part in sources if part.endswith(".mjml"))):
                mjml.lint_template(sources[name], name)
            made["html"] = mjml.to_html(fill("email", subject=made["subject"]), forms["email"])
        made["text"] = fill("text") if "text" in forms else _text(made)
        return made

    def _charts(self, request: Mapping[str, Any], environment: Any) -> tuple[list[Json], Record]:
        images: list[Json] = []
        shown: dict[str, Any] = {}
        for declared in request["charts"]:
            settings: dict[str, Any] = {**declared, "lines": tuple(declared["lines"])}
            chart = charts.Chart(**settings)
            self._at(f"chart {chart.name}")
            records = request["variables"].get(chart.data)
            if not isinstance(records, list):
                raise DataError(
                    f"The chart {chart.name!r} shows {chart.data!r}, which is no list of records.",
                    mend="Let its query return many.",
                )
            picture = charts.png(charts.svg(chart, records, environment))
            alt = charts.alt_text(chart, records)
            images.append({"name": f"{chart.name}.png", "alt": alt, "png": base64.b64encode(picture).decode()})
            shown[chart.name] = Record(
                {
                    "src": f"cid:{chart.name}.png",
                    "alt": alt,
                    "title": chart.title,
                    "width": charts.WIDTH,
                    "height": chart.height,
                }
            )
        return images, Record(shown)

    def _environment(self, sources: Mapping[str, str]) -> dict[bool, Any]:
        key = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()
        if key not in self._environments:
            self._environments[key] = {escape: _environment(sources, escape=escape) for escape in (True, False)}
        self._environments.move_to_end(key)
        while len(self._environments) > _KEPT_ENVIRONMENTS:
            self._environments.popitem(last=False)
        return self._environments[key]


def _environment(sources: Mapping[str, str], *, escape: bool) -> ImmutableSandboxedEnvironment:
    known = {**sources, **charts.templates()}

    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        # The file name is what tracebacks carry, and so how an error finds its line.
        return (known[name], name, lambda: True) if name in known else None

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load), autoescape=escape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({name: _strict(function) for name, function in formats.FILTERS.items()})
    del environment.globals["lipsum"]
    return environment


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that refuses what is undefined in Jinja's own words, so that the nearest name is offered."""

    def filtered(*values: Any, **more: Any) -> Any:
        for value in values:
            if isinstance(value, Undefined):
                str(value)  # a StrictUndefined raises
        return function(*values, **more)

    return filtered


def _fill(
    environment: ImmutableSandboxedEnvironment, name: str, variables: Mapping[str, Any], output_chars: int
) -> str:
    """Return one filled template, stopped as soon as it has written too much."""
    pieces, written = list[str](), 0
    try:
        for piece in environment.get_template(name).generate(variables):
            written += len(piece)
            if written > output_chars:
                raise DataError(
                    f"The template {name} wrote more than {output_chars:,} characters.", mend="Show fewer rows."
                )
            pieces.append(piece)
    except SignalRoomError as error:
        line = _line(error, name)
        place = "" if name in error.message else f"{name}{f' line {line}' if line else ''}: "
        raise type(error)(f"{place}{error.message}", mend=error.mend) from error
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"{error.name or name} line {error.lineno}: {_sentence(error.message)}", mend="Mend that line."
        ) from error
    except TemplateNotFound as error:
        raise ConfigError(
            f"{name} includes {error.name}, which is not in its folder.",
            mend="Parts are called _NAME.j2 or _NAME.mjml.",
        ) from error
    except UndefinedError as error:
        raise _undefined(error, name, variables) from error
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        # What the expressions of a template can raise; MemoryError is not among them and ends the process.
        said = str(error) or type(error).__name__
        raise ConfigError(f"{name} line {_line(error, name)}: {_sentence(said)}", mend="Mend that line.") from error
    return "".join(pieces)


def _undefined(error: UndefinedError, name: str, variables: Mapping[str, Any]) -> ConfigError:
    found = _UNKNOWN.search(error.message or "")
    place = f"{name} line {_line(error, name)}"
    if found is None:
        return ConfigError(f"{place}: {_sentence(error.message)}", mend="Mend that line.")
    if (variable := found["variable"]) is not None:
        return ConfigError(f"{place}: there is no {variable!r}.", mend=nearest(variable, variables))
    column = found["column"]
    records = [value for value in variables.values() if isinstance(value, Record)]
    records += [
        value[0] for value in variables.values() if isinstance(value, list) and value and isinstance(value[0], Record)
    ]
    known = {key for record in records for key in record}
    empty = "it is null or" if "None" in (error.message or "") else "it"
    return ConfigError(f"{place}: {empty} has no {column!r}.", mend=nearest(column, known))


def _line(error: BaseException, name: str) -> int:
    """Return the line of the template ``name`` at which ``error`` was raised; 0 when it does not show."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _sentence(text: object) -> str:
    return f"{str(text).rstrip('.')}."


def _seen(value: Any) -> Any:
    if isinstance(value, dict):
        return Record({key: _seen(inner) for key, inner in value.items()})
    return [_seen(inner) for inner in value] if isinstance(value, list) else value


def _text(made: Mapping[str, Any]) -> str:
    """Return the plain text of a report without a template for it, from the fullest form it has."""
    if made["html"]:
        return plain.html_to_text(made["html"])
    return as_text(made["blocks"]) if made["blocks"] else f"{made['sms']}\n"
