"""The command line: one file a command group, each imported when it is called."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run ``signalroom`` with the arguments of this process and exit; the codes are in :mod:`signalroom.cli.exits`."""
    from signalroom.cli.app import app

    try:
        app.main(prog_name="signalroom")
    except SystemExit as ended:
        if "temporalio" not in sys.modules or not isinstance(ended.code, int):
            raise
        # The client's own threads may call into an interpreter that is being taken down, and abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)
    raise SystemExit(0)
