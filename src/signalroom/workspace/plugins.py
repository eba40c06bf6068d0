"""Plugins by kind: entry points and files dropped in the workspace, found without importing the others."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin

from signalroom.errors import ConfigError, nearest
from signalroom.workspace.convert import is_setting, key_of, type_hints, type_name
from signalroom.workspace.settings import Secret

if TYPE_CHECKING:
    import ast
    from importlib.metadata import EntryPoint

Role: TypeAlias = Literal["source", "channel", "warehouse"]
"""What a plugin does; the entry points' group is ``signalroom.<role>s``."""

# The methods that make a class of a workspace file one of the role, so that its helper classes are left alone.
_METHODS: Mapping[Role, tuple[str, ...]] = {
    "source": ("streams", "read"),
    "channel": ("recipients", "send"),
    "warehouse": ("merge", "query"),
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where a plugin is, before anything of it is imported.

    Attributes:
        role: What it does.
        kind: The name that ``kind = "..."`` selects it by.
        origin: Where it is, for people: ``signalroom.sources.files:Files`` or ``sources/crm.py:Crm``.
        entry_point: The entry point, for an installed plugin.
        file: The workspace file, for a dropped one.
    """

    role: Role
    kind: str
    origin: str
    entry_point: EntryPoint | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One setting of a plugin, as the generated reference shows it.

    Attributes:
        name: Its name; nested ones are dotted, with ``<name>`` where the user picks a name.
        type: Its type in words.
        unit: ``s``, ``bytes``, ``rows``… or empty.
        default: As written in TOML; empty when it is required or when there is nothing to write.
        required: True when the workspace file must set it.
        example: How it is written in ``signalroom.toml``.
        doc: What it does and why one would change it.
    """

    name: str
    type: str
    unit: str
    default: str
    required: bool
    example: str
    doc: str


def available(role: Role, root: Path | None = None) -> dict[str, Plugin]:
    """Return kind -> where it is, for every plugin of a role, sorted; imports none of them.

    Args:
        role: ``source``, ``channel`` or ``warehouse``.
        root: The workspace folder whose ``<role>s/`` files count too.

    Raises:
        ConfigError: Two plugins have the same kind, or a workspace file cannot be parsed.
    """
    found: dict[str, Plugin] = {}
    for plugin in [*_installed(role), *(_dropped(role, root) if root else ())]:
        other = found.get(plugin.kind)
        if other is not None and other.origin != plugin.origin:
            raise ConfigError(
                f"Two {role}s have the kind {plugin.kind!r}: {other.origin} and {plugin.origin}.",
                mend="Rename one of them or give its class another `kind`.",
            )
        found[plugin.kind] = plugin
    return dict(sorted(found.items()))


def find(role: Role, kind: str, root: Path | None = None, path: str = "") -> type:
    """Import and return the dataclass of one plugin.

    Args:
        role: What it does.
        kind: As written in the workspace file.
        root: The workspace folder.
        path: Where the kind is written, e.g. ``sources.everflow``; it opens the message.

    Raises:
        ConfigError: The kind is unknown, cannot be imported, or is not a plugin of the role.
    """
    plugins = available(role, root)
    where = f"{path}: " if path else ""
    if kind not in plugins:
        known = ", ".join(plugins) or "none"
        raise ConfigError(
            f"{where}unknown kind of {role} {kind!r}.", mend=f"{nearest(kind, plugins)} Known kinds: {known}.".strip()
        )
    plugin = plugins[kind]
    try:
        shape = _load(plugin)
    except Exception as error:  # a stranger's module may fail in any way, and a person must mend it
        raise ConfigError(
            f"{where}the {role} {kind!r} ({plugin.origin}) cannot be imported: {type(error).__name__}: {error}.",
            mend="Install what it needs or mend the file.",
        ) from error
    if not isinstance(shape, type) or not dataclasses.is_dataclass(shape):
        raise ConfigError(
            f"{where}the {role} {kind!r} ({plugin.origin}) is not a dataclass.",
            mend="A plugin is a frozen dataclass whose fields are its settings.",
        )
    if missing := [name for name in _METHODS[role] if not hasattr(shape, name)]:
        raise ConfigError(
            f"{where}the {role} {kind!r} ({plugin.origin}) has no {missing[0]}().",
            mend=f"Give it the methods of a {role}: {', '.join(_METHODS[role])}…",
        )
    return shape


def describe(plugin: type) -> list[SettingDoc]:
    """Return the settings of a plugin in the order it declares them, nested tables flattened."""
    return list(_describe(plugin, ""))


def snake_case(name: str) -> str:
    """Return ``CrmExport`` as ``crm_export``, ``DuckDBFile`` as ``duck_db_file``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return spaced.lower()


@cache
def _installed(role: Role) -> tuple[Plugin, ...]:
    """Return the plugins of installed packages, looked for once: reading all packages' metadata takes 30 ms."""
    from importlib.metadata import entry_points

    found = entry_points(group=f"signalroom.{role}s")
    return tuple(Plugin(role, one.name, one.value, entry_point=one) for one in found)


def _dropped(role: Role, root: Path) -> Iterator[Plugin]:
    """Yield the plugins of the workspace's files, read as text: listing must not run them."""
    import ast

    for file in sorted((root / f"{role}s").glob("*.py")):
        if file.name.startswith("_"):
            continue
        title = f"{role}s/{file.name}"
        try:
            tree = ast.parse(file.read_bytes(), filename=title)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            place = f"{title}, line {line}" if line else title
            raise ConfigError(f"{place}: {getattr(error, 'msg', error)}.", mend="Mend the file.") from None
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (kind := _kind(node, role)):
                yield Plugin(role, kind, f"{title}:{node.name}", file=file)


def _kind(node: ast.ClassDef, role: Role) -> str:
    """Return the kind a class declares or is named by; empty when it is no plugin of the role."""
    import ast

    for item in node.body:
        match item:
            case ast.Assign(targets=[ast.Name(id="kind")], value=ast.Constant(value=str(kind))):
                return kind
            # A ClassVar only: a plain annotated name is a setting called kind.
            case ast.AnnAssign(
                target=ast.Name(id="kind"), annotation=annotation, value=ast.Constant(value=str(kind))
            ) if "ClassVar" in ast.unparse(annotation):
                return kind
            case _:
                pass
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    if node.name.startswith("_") or not methods.issuperset(_METHODS[role]):
        return ""
    return snake_case(node.name)


def _load(plugin: Plugin) -> Any:
    if plugin.entry_point is not None:
        return plugin.entry_point.load()
    import hashlib
    import importlib.util
    import sys

    file = plugin.file
    if file is None:  # unreachable: a plugin has one or the other
        raise ImportError(plugin.origin)
    stat = file.stat()
    mark = hashlib.sha256(f"{file.resolve()}|{stat.st_mtime_ns}|{stat.st_size}".encode()).hexdigest()[:16]
    name = f"signalroom_workspace_{mark}_{file.stem}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(plugin.origin)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs: dataclasses look their module up by name
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return getattr(module, plugin.origin.rpartition(":")[2])


def _describe(shape: type, prefix: str) -> Iterator[SettingDoc]:
    hints = type_hints(shape)
    for item in dataclasses.fields(shape):
        if not is_setting(item):
            continue
        hint = hints[item.name]
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        yield SettingDoc(
            name=prefix + key_of(item),
            type=type_name(hint),
            unit=str(item.metadata.get("unit", "")),
            default="" if required else _default(item),
            required=required,
            example=str(item.metadata.get("example", "")),
            doc=str(item.metadata.get("doc", "")),
        )
        nested, step = _nested(hint)
        if nested is not None and nested is not shape:
            yield from _describe(nested, f"{prefix}{key_of(item)}.{step}")


def _nested(hint: Any) -> tuple[type | None, str]:
    """Return the dataclass inside a type, and how its settings' names go on after the field's own."""
    for arm in (hint, *get_args(hint)):
        if isinstance(arm, type) and dataclasses.is_dataclass(arm) and arm is not Secret:
            return arm, "<name>." if get_origin(hint) in {dict, Mapping} else ""
    return None, ""


def _default(item: dataclasses.Field[Any]) -> str:
    """Return a default as written in TOML; empty where TOML has nothing to write (None, an empty table)."""
    value: Any = item.default
    if value is dataclasses.MISSING and callable(item.default_factory):
        value = item.default_factory()
    return _toml(value)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | Path() | Secret():
            import json

            return json.dumps(str(value), ensure_ascii=False)
        case list() | tuple() | set() | frozenset():
            items: list[Any] = list(value)
            return "[" + ", ".join(_toml(part) for part in items) + "]"
        case None | dict():
            return ""
        case _:
            return "" if dataclasses.is_dataclass(value) else str(value)
