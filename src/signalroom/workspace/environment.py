"""Secrets and other values by reference: ``env:NAME``, the ``.env`` file, and literals that should not be there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any

from signalroom.errors import ConfigError

PREFIX = "env:"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

# What a credential looks like, and how to call it. Only shapes that nothing else has: a false alarm here
# would stop a workspace that is right.
_LOOKS_SECRET: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a Slack token", re.compile(r"\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{5,}")),
    ("a Slack webhook address", re.compile(r"https://hooks\.slack\.com/(?:services|workflows|triggers)/\S+")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a URL with a password", re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*:[^/?#\s@]+@")),
    ("a password", re.compile(r"(?:^|[\s?&;])(?:password|passwd|pwd|api_key|apikey)=[^\s&;]+", re.IGNORECASE)),
    ("a Resend key", re.compile(r"\bre_[A-Za-z0-9]{6,}_[A-Za-z0-9]{10,}\b")),
    ("a Twilio key", re.compile(r"\bSK[0-9a-f]{32}\b")),
    ("a PostHog key", re.compile(r"\bph[xc]_[A-Za-z0-9]{20,}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})\b")),
    ("a payment key", re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}\b")),
    ("a signed token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*")),
)


@dataclass(frozen=True, slots=True)
class Reference:
    """One value of the workspace file that comes from the environment.

    Attributes:
        path: Where it is used, e.g. ``channels.team.token``.
        variable: The environment variable it names.
        is_set: True when the variable exists and is not empty.
    """

    path: str
    variable: str
    is_set: bool


def is_reference(value: object) -> bool:
    """Return True for a string of the form ``env:NAME``, even a malformed one."""
    return isinstance(value, str) and value.startswith(PREFIX)


def variable_of(reference: str, path: str) -> str:
    """Return the variable that ``env:NAME`` names; raises ConfigError when NAME is no variable's name."""
    variable = reference.removeprefix(PREFIX).strip()
    if _NAME.fullmatch(variable) is None:
        raise ConfigError(
            f"{path}: a reference must name one environment variable.",
            mend='Write it as "env:NAME" with letters, digits and underscores, and nothing else in the string.',
        )
    return variable


def look_up(reference: str, path: str, environ: Mapping[str, str]) -> str:
    """Return the value behind ``env:NAME``.

    Raises:
        ConfigError: The reference is malformed, or the variable is missing or empty; the sentence names it.
    """
    variable = variable_of(reference, path)
    value = environ.get(variable, "")
    if not value:
        raise ConfigError(
            f"{path}: the environment variable {variable} is not set.",
            mend=f"Export {variable} or put it in the workspace's .env file.",
        )
    return value


def references(table: Mapping[str, Any], path: str, environ: Mapping[str, str]) -> tuple[Reference, ...]:
    """Return every ``env:NAME`` in ``table``, in file order, with whether it is set; never a value."""
    found: list[Reference] = []
    for where, text in _strings(table, path):
        if is_reference(text):
            variable = text.removeprefix(PREFIX).strip()
            found.append(Reference(where, variable, is_set=bool(environ.get(variable))))
    return tuple(found)


def looks_secret(text: str) -> str:
    """Return what kind of credential ``text`` holds (``a Slack token``), or an empty string."""
    return next((kind for kind, pattern in _LOOKS_SECRET if pattern.search(text)), "")


def literal_secrets(table: Mapping[str, Any], path: str) -> Iterator[ConfigError]:
    """Yield one error for each literal in ``table`` that looks like a credential; the value is never shown."""
    for where, text in _strings(table, path):
        if kind := looks_secret(text):
            yield ConfigError(
                f"{where}: the value looks like {kind}, and the workspace file is kept in git.",
                mend='Put it in the environment or the .env file, write "env:NAME" here, and renew the credential '
                "if the file was ever shared.",
            )


def hidden(problems: Iterable[ConfigError], table: Mapping[str, Any]) -> list[ConfigError]:
    """Return ``problems`` with every credential-like literal of ``table`` taken out of their sentences."""
    found = sorted({text for _, text in _strings(table, "") if looks_secret(text)}, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in found:
            text = text.replace(secret, "(hidden)").replace(repr(secret), "(hidden)")
        return text

    return [ConfigError(mask(problem.message), mend=mask(problem.mend)) for problem in problems]


def read_environment(root: Path, environ: Mapping[str, str], problems: list[ConfigError]) -> dict[str, str]:
    """Return the variables of ``root/.env`` overlaid with ``environ``, which wins.

    Lines that cannot be read are added to ``problems`` by number; their content is never shown.
    """
    path = root / ".env"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return dict(environ)
    except (OSError, UnicodeDecodeError):
        problems.append(
            ConfigError(".env: the file cannot be read as UTF-8 text.", mend="Mend its encoding or its rights.")
        )
        return dict(environ)
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _ASSIGNMENT.fullmatch(stripped)
        value = None if found is None else _unquote(found[2])
        if found is None or value is None:
            problems.append(
                ConfigError(
                    f".env, line {number}: this is not KEY=VALUE.",
                    mend="Write one KEY=VALUE a line, with any quotes closed on the same line.",
                )
            )
            continue
        values[found[1]] = value
    return {**values, **environ}


def _unquote(text: str) -> str | None:
    """Return the value of an assignment's right-hand side, or None when its quotes do not close."""
    if text[:1] not in {"'", '"'}:
        # A comment needs a space before its sign: a password may well hold one.
        return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0].rstrip()
    quote = text[0]
    body: list[str] = []
    position = 1
    while position < len(text) and text[position] != quote:
        char = text[position]
        if char == "\\" and quote == '"' and position + 1 < len(text):
            position += 1
            char = _ESCAPES.get(text[position], text[position])
        body.append(char)
        position += 1
    rest = text[position + 1 :].strip()
    if position >= len(text) or (rest and not rest.startswith("#")):
        return None
    return "".join(body)


def _strings(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield each string inside a TOML value with its path; keys count too, a secret may be pasted anywhere."""
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, item in value.items():
                # A key that is itself a credential must not be printed as part of a path.
                name = "(hidden)" if looks_secret(str(key)) else str(key)
                where = f"{path}.{name}" if path else name
                if name != key:
                    yield where, str(key)
                yield from _strings(item, where)
        case list():
            for index, item in enumerate(value):
                yield from _strings(item, f"{path}[{index}]")
        case _:
            pass


def show(value: object) -> str:
    """Return a TOML value as an error may print it: its kind and, for a short scalar without secrets, itself."""
    match value:
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case str() if looks_secret(value) or len(value) > 60:
            return "str (hidden)"
        case date() | time():
            return f"{type(value).__name__} {value.isoformat()}"
        case _:
            return f"{type(value).__name__} {value!r}"
