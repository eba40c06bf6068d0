"""What a command's exit code tells the shell, cron or another scheduler."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from signalroom.errors import ConfigError, RetryableError, SignalRoomError

OK: Final = 0
DATA: Final = 1
CONFIG: Final = 2
RETRY: Final = 3
INTERRUPTED: Final = 130

_MAKE_ROOM = "Make room on that disk, then run it again."
_REFUSALS: Final[Mapping[int, str]] = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`), then run it again.",
    errno.EROFS: "Name a folder that may be written, or mount its disk for writing.",
    errno.EACCES: "Give this user the right to it, or name another.",
    errno.EPERM: "Give this user the right to it, or name another.",
    errno.EIO: "Mend the disk; `dmesg` tells what is wrong with it.",
}

EPILOG: Final = """\b
Exit codes:
  0    done
  1    the data were refused, or something is wrong with signalroom itself
  2    a person must edit something: the command, the workspace, the environment
  3    the same command may succeed later: a busy or unreachable upstream
  130  interrupted
"""


def as_error(problem: OSError) -> SignalRoomError | None:
    """Return what the file system refuses as an error of ours; None for what a person can do nothing about."""
    mend = _REFUSALS.get(problem.errno or 0)
    if mend is None:
        return None
    where = f"{problem.filename}: " if problem.filename else ""
    return ConfigError(f"{where}{problem.strerror}.", mend=mend)


def exit_code(problem: BaseException) -> int:
    """Return the code for what ended a command; whatever nobody expected counts as refused data."""
    match problem:
        case ConfigError():
            return CONFIG
        case RetryableError():
            return RETRY
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return DATA
