"""Strict conversion of a TOML table onto a plugin: a path in every error, the nearest name, no secret shown."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from signalroom.clock import Clock
from signalroom.errors import ConfigError, nearest
from signalroom.workspace.environment import is_reference, look_up, show, variable_of
from signalroom.workspace.settings import Secret

T = TypeVar("T")

_BAD: Any = object()  # stands for a value whose problem has been noted
_LISTS: Mapping[Any, type] = {list: list, tuple: tuple, Sequence: tuple, frozenset: frozenset, set: set}
_TABLES = {dict, Mapping}
_NAMES = {str: "str", int: "int", float: "float", bool: "bool", Path: "str", Decimal: "int, float or str"}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Context:
    """What the workspace knows and a plugin may ask for.

    Attributes:
        name: The plugin's name in the workspace; the key of the table inside a table of tables.
        root: The workspace folder; relative ``Path`` settings are taken from it.
        timezone: The workspace's IANA zone.
        clock: Where time comes from.
        environ: The environment, ``.env`` included; never printed.
    """

    name: str
    root: Path
    timezone: str
    clock: Clock
    environ: Mapping[str, str] = field(repr=False)


def convert(shape: type[T], table: Mapping[str, Any], path: str, context: Context) -> T:
    """Return an instance of the dataclass ``shape`` filled from a TOML table.

    Types are taken literally: ``"3"`` is no int and ``3`` no str, except that the text of an environment variable
    is read as the setting's type. A string ``env:A`` for a list setting, or inside a list of strings, is split at
    commas. A Secret keeps its reference; an unset one fails when it is revealed.

    Args:
        shape: A dataclass whose fields are settings.
        table: The settings, without ``kind``.
        path: Where the table is, e.g. ``sources.everflow``; it opens every message.
        context: Values for ``injected()`` fields and the environment.

    Raises:
        ConfigError: The first problem, with the count of the others.
    """
    conversion = _Conversion(unset_secrets=False)
    value = conversion.dataclass(shape, table, path, context)
    if conversion.problems:
        raise first_of(conversion.problems)
    return value


def problems(shape: type, table: Mapping[str, Any], path: str, context: Context) -> list[ConfigError]:
    """Return every problem of a conversion, secrets that are not set included; empty when it would succeed."""
    conversion = _Conversion(unset_secrets=True)
    conversion.dataclass(shape, table, path, context)
    return conversion.problems


def first_of(problems: Sequence[ConfigError]) -> ConfigError:
    """Return one error that tells the first problem and how many more there are."""
    first, more = problems[0], len(problems) - 1
    if not more:
        return first
    count = "1 more problem" if more == 1 else f"{more} more problems"
    return ConfigError(first.message, mend=f"{first.mend} ({count}: `signalroom check` lists them all.)".strip())


def type_hints(shape: type) -> dict[str, Any]:
    """Return the resolved types of a dataclass's fields; raises ConfigError for a plugin that hides them."""
    try:
        return typing.get_type_hints(shape)
    except NameError as error:
        raise ConfigError(
            f"The plugin {shape.__qualname__} annotates a setting with {error.name!r}, unknown to its module.",
            mend="Import the type at the top of the module, outside TYPE_CHECKING.",
        ) from None


def key_of(item: dataclasses.Field[Any]) -> str:
    """Return a setting's name in the file: a field gives way to a method of its role (``streams_`` is ``streams``)."""
    return item.name.removesuffix("_")


def is_setting(item: dataclasses.Field[Any]) -> bool:
    """Return True for a field that the workspace file may set."""
    return item.init and not item.metadata.get("injected") and not item.name.startswith("_")


class _Conversion:
    """One conversion under way: it goes on after a problem, so that all of them are found."""

    def __init__(self, *, unset_secrets: bool) -> None:
        self.problems: list[ConfigError] = []
        self._unset_secrets = unset_secrets
        self._revealed: dict[str, str] = {}  # value -> reference, to keep values out of a plugin's own errors

    def _look_up(self, reference: str, path: str, context: Context) -> str | None:
        """Return the value behind ``env:NAME``, or None after noting why there is none."""
        try:
            value = look_up(reference, path, context.environ)
        except ConfigError as error:
            self.problems.append(error)
            return None
        self._revealed[value] = reference
        return value

    def _redact(self, text: str) -> str:
        for value, reference in self._revealed.items():
            text = text.replace(value, reference)
        return text

    def _bad(self, message: str, mend: str = "") -> Any:
        self.problems.append(ConfigError(message, mend=mend))
        return _BAD

    def _expected(self, path: str, what: str, raw: object, mend: str = "") -> Any:
        return self._bad(f"{path}: expected {what}, got {show(raw)}.", mend)

    def dataclass(self, shape: type, raw: object, path: str, context: Context) -> Any:
        """Convert a table onto ``shape``; notes unknown, missing and misplaced names."""
        if not isinstance(raw, Mapping):
            return self._expected(path, "a table", raw)
        table: Mapping[str, Any] = raw
        try:
            hints = type_hints(shape)
        except ConfigError as error:
            self.problems.append(error)
            return _BAD
        fields = {key_of(item): item for item in dataclasses.fields(shape)}
        settable = {name: item for name, item in fields.items() if is_setting(item)}
        before = len(self.problems)
        for name in table:
            if name not in settable:
                self._unknown(name, path, fields, settable, table)
        values: dict[str, Any] = {}
        for name, item in fields.items():
            if name in settable and name in table:
                values[item.name] = self.value(hints[item.name], table[name], f"{path}.{name}", context)
            elif item.metadata.get("injected"):
                self._inject(item, values, path, context)
            elif name in settable:
                self._default(item, values, path, context)
        if len(self.problems) > before:
            return _BAD
        try:
            return shape(**values)
        except ConfigError as error:
            message = error.message if error.message.startswith(path) else f"{path}: {error.message}"
            return self._bad(self._redact(message), self._redact(error.mend))
        except (ValueError, TypeError) as error:
            return self._bad(self._redact(f"{path}: {error}".rstrip(".") + "."))

    def _unknown(
        self,
        name: str,
        path: str,
        fields: Mapping[str, dataclasses.Field[Any]],
        settable: Mapping[str, object],
        table: Mapping[str, Any],
    ) -> None:
        if name in fields:
            self._bad(f"{path}.{name}: the workspace fills this in.", "Remove it from signalroom.toml.")
            return
        free = [known for known in settable if known not in table]
        known = ", ".join(settable) or "none"
        self._bad(f"{path}: unknown setting {name!r}.", nearest(name, free) or f"Its settings are: {known}.")

    def _inject(self, item: dataclasses.Field[Any], values: dict[str, Any], path: str, context: Context) -> None:
        known = {"name": context.name, "root": context.root, "timezone": context.timezone, "clock": context.clock}
        if item.name in known:
            values[item.name] = known[item.name]
        elif _is_required(item):
            self._bad(
                f"{path}: the plugin asks the workspace for {item.name!r}, which it does not know.",
                f"A plugin may be given: {', '.join(known)}.",
            )

    def _default(self, item: dataclasses.Field[Any], values: dict[str, Any], path: str, context: Context) -> None:
        if _is_required(item):
            example = str(item.metadata.get("example", "")) or "..."
            line = example if "=" in example else f"{key_of(item)} = {example}"
            self._bad(f"{path}: the setting {key_of(item)!r} is missing.", f"Write {line} under [{path}].")
        elif isinstance(item.default, Secret) and item.default.value is None:
            # A plugin may name the variable that deployments use; it is resolved like one from the file.
            value = context.environ.get(item.default.reference.removeprefix("env:")) or None
            values[item.name] = Secret(item.default.reference, value)

    def value(self, hint: Any, raw: Any, path: str, context: Context) -> Any:
        """Convert one TOML value to the type ``hint``."""
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self.value(args[0], raw, path, context)
        if origin is typing.Union or origin is types.UnionType:
            return self._union([arm for arm in args if arm is not types.NoneType], raw, path, context)
        if hint is Secret:
            return self._secret(raw, path, context)
        if (origin or hint) in _LISTS:
            return self._list(_LISTS[origin or hint], args, raw, path, context)
        if (origin or hint) in _TABLES:
            return self._table(args[1] if args else Any, raw, path, context)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self.dataclass(hint, raw, path, context)
        if is_reference(raw):
            text = self._look_up(raw, path, context)
            return _BAD if text is None else self._text(hint, text, path, raw, context)
        return self._scalar(hint, raw, path, context)

    def _union(self, arms: list[Any], raw: Any, path: str, context: Context) -> Any:
        """Convert to the first arm that takes the value; with one arm its own problems are told."""
        if len(arms) == 1:
            return self.value(arms[0], raw, path, context)
        tried: list[list[ConfigError]] = []
        for arm in arms:
            attempt = _Conversion(unset_secrets=self._unset_secrets)
            value = attempt.value(arm, raw, path, context)
            if not attempt.problems:
                return value
            tried.append(attempt.problems)
        if isinstance(raw, Mapping) or is_reference(raw):
            # A table meant for a nested dataclass, or a variable that is not set: the details help more.
            self.problems.extend(tried[next((n for n, arm in enumerate(arms) if _takes_table(arm)), 0)])
            return _BAD
        return self._expected(path, " or ".join(type_name(arm) for arm in arms), raw)

    def _secret(self, raw: Any, path: str, context: Context) -> Any:
        if not is_reference(raw):
            # The value is never shown: it may be the secret itself.
            return self._bad(
                f"{path}: a secret is never written in signalroom.toml.",
                f'Put it in the environment or the .env file and write "env:{path.rpartition(".")[2].upper()}" here.',
            )
        try:
            variable = variable_of(raw, path)
            value = look_up(raw, path, context.environ) if self._unset_secrets else context.environ.get(variable)
        except ConfigError as error:
            self.problems.append(error)
            return _BAD
        return Secret(f"env:{variable}", value or None)

    def _list(self, build: type, args: tuple[Any, ...], raw: Any, path: str, context: Context) -> Any:
        if is_reference(raw):
            raw = [raw]  # one variable that holds them all, separated by commas
        if not isinstance(raw, list):
            return self._expected(path, "a list", raw, "Put it in square brackets." if isinstance(raw, str) else "")
        items: list[Any] = raw
        if build is tuple and args and args[-1] is not Ellipsis and len(args) > 1:
            if len(items) != len(args):
                return self._expected(path, f"a list of {len(args)} values", raw)
            return tuple(
                self.value(arm, item, f"{path}[{n}]", context)
                for n, (arm, item) in enumerate(zip(args, items, strict=True))
            )
        arm = args[0] if args else Any
        values: list[Any] = []
        for index, item in enumerate(items):
            where = f"{path}[{index}]"
            if is_reference(item) and arm is not Secret:
                parts = [part.strip() for part in (self._look_up(item, where, context) or "").split(",")]
                values += [self._text(arm, part, where, item, context) for part in parts if part]
            else:
                values.append(self.value(arm, item, where, context))
        return build(value for value in values if value is not _BAD)

    def _table(self, arm: Any, raw: Any, path: str, context: Context) -> Any:
        if not isinstance(raw, Mapping):
            return self._expected(path, "a table", raw)
        return {
            str(key): self.value(arm, item, f"{path}.{key}", dataclasses.replace(context, name=str(key)))
            for key, item in raw.items()
        }

    def _text(self, hint: Any, text: str, path: str, reference: str, context: Context) -> Any:
        """Read the text of an environment variable as ``hint``; its value is never shown."""
        for arm in [arm for arm in typing.get_args(hint) if arm is not types.NoneType] if _is_union(hint) else [hint]:
            value = _read_text(arm, text)
            if value is not _BAD:
                return context.root / value if isinstance(value, Path) else value
        return self._bad(f"{path}: expected {type_name(hint)}, and the variable {reference[4:]} does not hold one.")

    def _scalar(self, hint: Any, raw: Any, path: str, context: Context) -> Any:
        if hint is Any or hint is object or isinstance(hint, typing.ForwardRef):
            return raw
        if typing.get_origin(hint) is typing.Literal:
            choices = typing.get_args(hint)
            if any(type(raw) is type(choice) and raw == choice for choice in choices):
                return raw
            mend = nearest(raw, map(str, choices)) if isinstance(raw, str) else ""
            return self._expected(path, type_name(hint), raw, mend)
        if hint is Path and isinstance(raw, str):
            return context.root / raw
        if hint is float and type(raw) is int:
            return float(raw)
        if hint is Decimal and type(raw) in {int, float, str}:
            value = _read_text(Decimal, str(raw))
            return self._expected(path, "a decimal number", raw) if value is _BAD else value
        if type(raw) is hint:  # not isinstance: a bool is no int and a datetime no date
            return raw
        return self._expected(path, type_name(hint), raw)


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def _read_text(hint: Any, text: str) -> Any:
    """Return ``text`` as ``hint``, or ``_BAD`` when it does not hold one."""
    if typing.get_origin(hint) is typing.Literal:
        return next((choice for choice in typing.get_args(hint) if str(choice) == text), _BAD)
    if hint is bool:
        return _WORDS.get(text.strip().lower(), _BAD)
    readers: Mapping[Any, Any] = {
        int: int, float: float, str: str, Path: Path, Decimal: Decimal, Any: str, object: str,
        date: date.fromisoformat, datetime: datetime.fromisoformat,
    }  # fmt: skip
    try:
        return readers[hint](text)
    except (KeyError, ValueError, InvalidOperation):
        return _BAD


def _takes_table(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or (typing.get_origin(hint) or hint) in _TABLES


def type_name(hint: Any) -> str:
    """Return a setting's type in words: ``int``, ``list of str``, ``'csv' or 'jsonl'``, ``secret``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        return " or ".join(type_name(arm) for arm in args if arm is not types.NoneType)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is typing.Literal:
        return " or ".join(repr(choice) for choice in args)
    if hint is Secret:
        return "a secret (env:NAME)"
    if (origin or hint) in _LISTS:
        return f"list of {type_name(args[0])}" if args else "list"
    if (origin or hint) in _TABLES:
        return f"table of {type_name(args[1])}" if args else "table"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "a table"
    return _NAMES.get(hint) or getattr(hint, "__name__", str(hint))
