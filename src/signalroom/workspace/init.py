"""New workspaces from the templates that ship with the package."""

from __future__ import annotations

from pathlib import Path

from signalroom.errors import ConfigError, nearest

_TEMPLATES = Path(__file__).with_name("templates")
_MARKER = "signalroom.toml"


def templates() -> tuple[str, ...]:
    """Return the names of the templates, sorted."""
    return tuple(sorted(file.parent.name for file in _TEMPLATES.glob(f"*/{_MARKER}")))


def init(template: str, target: Path) -> tuple[Path, ...]:
    """Copy a template into ``target`` and return the files written, relative to it, sorted.

    Nothing is overwritten, and nothing at all is written when one file is in the way.

    Raises:
        ConfigError: The template is unknown, or ``target`` holds a file that it would write.
        OSError: A file cannot be written; those that were are gone again.
    """
    known = templates()
    if template not in known:
        mend = f"{nearest(template, known)} Templates are: {', '.join(known)}.".strip()
        raise ConfigError(f"Unknown template {template!r}.", mend=mend)
    source = _TEMPLATES / template
    files = sorted(
        file.relative_to(source)
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    )
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file.", mend="Name a folder, new or empty.")
    if taken := [file for file in files if (target / file).exists() or (target / file).is_symlink()]:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise ConfigError(f"{target} already holds {taken[0]}{more}.", mend="Choose a new folder; nothing was written.")
    written: list[Path] = []
    try:
        for file in files:
            path = target / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as sink:  # "x": a file that appeared meanwhile is not overwritten either
                written.append(path)
                sink.write((source / file).read_bytes())
    except OSError:
        for path in written:  # half a workspace would be in the way of the next try
            path.unlink()
        raise
    return tuple(files)
