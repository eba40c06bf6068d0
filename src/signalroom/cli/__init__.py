"""The command line: one file a command group, each imported when it is called."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run ``signalroom`` with the arguments of this process and exit; the codes are in :mod:`signalroom.cli.exits`."""
    from signalroom.cli.app import app

    app.main(prog_name="signalroom")
    raise SystemExit(0)
