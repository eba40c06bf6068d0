"""Bugs put in on purpose, one small change of the product's own source each, and the law that must notice it."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest

Law = Callable[..., Any]
_KNOWS = ("signalroom.", "unit.", "integration.")


@dataclass(frozen=True)
class Bug:
    """One bug.

    Attributes:
        name: What the software would do wrong, as a user would say it.
        place: The function that has it, ``module:function`` or ``module:Class.method`` below ``signalroom``.
        right: Text of its source.
        wrong: What stands there instead.
        law: The function that must fail.
        seen: Part of what it says then: it fails for this reason and no other.
        origin: Who had this bug in public, or which of the mistakes of `tests/test_mistakes.py` it is.
    """

    name: str
    place: str
    right: str
    wrong: str
    law: Law
    seen: str
    origin: str = ""


def plant(bug: Bug, patch: pytest.MonkeyPatch) -> None:
    """Put the bug into this process, wherever its function is known by name."""
    module_name, _, path = bug.place.partition(":")
    __import__(f"signalroom.{module_name}")
    module = sys.modules[f"signalroom.{module_name}"]
    holder_name, _, name = path.rpartition(".")
    holder = getattr(module, holder_name) if holder_name else module
    healthy = inspect.getattr_static(holder, name)
    healthy = healthy.__func__ if isinstance(healthy, staticmethod) else healthy
    source = textwrap.dedent(inspect.getsource(healthy))
    assert source.count(bug.right) == 1, f"{bug.name}: {bug.place} changed; plant the bug again where it is now"
    changed = "from __future__ import annotations\n" + source.replace(bug.right, bug.wrong)
    space: dict[str, Any] = {}
    exec(compile(changed, f"<{bug.name}>", "exec", dont_inherit=True), vars(module), space)
    sick = space[name]
    assert isinstance(sick, FunctionType)
    patch.setattr(holder, name, sick)
    if not holder_name:  # others imported it by name
        for other in [one for key, one in sys.modules.items() if key.startswith(_KNOWS)]:
            if vars(other).get(name) is healthy:
                patch.setattr(other, name, sick)
