"""Fixtures that every test may use, and what holds in every test: nothing leaves the machine."""

import gc
import ipaddress
import logging
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests are imported by path (importlib mode): what they share is found here.
sys.path.insert(0, str(Path(__file__).parent))

from migrated_ledgers import ledgers_made_once, migrations
from postgres_server import postgres, postgres_server
from seaweed_server import seaweed
from signalroom import telemetry

__all__ = ["ledgers_made_once", "migrations", "postgres", "postgres_server", "seaweed"]

# `quick` is for every change; `make test HYPOTHESIS_PROFILE=full` looks for what is rare, in the tests that set their
# own number of examples too. On CI the examples are the same each time, so that a red build is about the change.
settings.register_profile("quick", max_examples=50, deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.register_profile(
    "full",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
if settings.get_current_profile_name() == "full":
    os.environ.setdefault("SIGNALROOM_EXAMPLES", "many")


class LeftTheMachineError(RuntimeError):
    """A test spoke to another machine; not an OSError, or a retry would swallow it."""


def _is_local(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _stay_here(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse connections to, datagrams to and look-ups of other machines, whatever asks for them in Python."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a Unix socket's address is its path
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if not _is_local(host):
        raise LeftTheMachineError(f"A test tried to reach {host!r}: tests speak to this machine only.")


sys.addaudithook(_stay_here)


def pytest_collection_finish():
    """Leave what collecting made, some thousands of tests and their modules, out of every later look for garbage."""
    gc.freeze()


def pytest_unconfigure():
    """Let the process clear up as it ends: an extension module tells of what is left over."""
    gc.unfreeze()


_LOGGERS = [logging.getLogger(name) for name in (None, "signalroom", "signalroom.http")]
_QUIET = [(one, one.level, one.disabled, one.propagate) for one in _LOGGERS]


@pytest.fixture(autouse=True)
def _no_secrets_yet(monkeypatch):
    """Each test knows its own secrets only: another's would be masked where this one means the word."""
    monkeypatch.setattr(telemetry, "_forms", {})
    monkeypatch.setattr(telemetry, "_pattern", None)


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Undo what a command's own logging set up, in a test or a fixture of a module: tests look at what is logged."""
    handlers = [(one, list(one.handlers)) for one in _LOGGERS]
    for one, level, disabled, propagate in _QUIET:
        one.setLevel(level)
        one.disabled, one.propagate = disabled, propagate
    yield
    for one, before in handlers:
        one.handlers[:] = [handler for handler in one.handlers if handler in before]
