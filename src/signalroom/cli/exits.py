"""What a command's exit code tells the shell, cron or another scheduler."""

from __future__ import annotations

from typing import Final

from signalroom.errors import ConfigError, RetryableError

OK: Final = 0
DATA: Final = 1
CONFIG: Final = 2
RETRY: Final = 3
INTERRUPTED: Final = 130

EPILOG: Final = """\b
Exit codes:
  0    done
  1    the data were refused, or something is wrong with signalroom itself
  2    a person must edit something: the command, the workspace, the environment
  3    the same command may succeed later: a busy or unreachable upstream
  130  interrupted
"""


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
