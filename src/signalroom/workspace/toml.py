"""A TOML file as a table, or the line in which it is none."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from signalroom.errors import ConfigError


def read_toml(file: Path, problems: list[ConfigError]) -> dict[str, Any] | None:
    """Return what a file says, or None after adding to ``problems`` why nothing of it can be told."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        text, _, place = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        where = f"{file.name}, line {line[1]}" if line else f"{file.name}, at the end"
        problems.append(ConfigError(f"{where}: {text}.", mend="Mend the TOML."))
    except (OSError, UnicodeDecodeError):
        problems.append(
            ConfigError(f"{file.name}: the file cannot be read as UTF-8 text.", mend="Mend it or its rights.")
        )
    return None
