"""How many examples a property test draws: a few by default, many where ``SIGNALROOM_EXAMPLES=many``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

MANY = os.environ.get("SIGNALROOM_EXAMPLES") == "many"


def examples(*, quick: int, many: int, **more: Any) -> Callable[[Any], Any]:
    """Return hypothesis settings for a test that draws ``quick`` examples, or ``many`` of them."""
    drawn = settings(
        max_examples=many if MANY else quick,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        **more,
    )
    return lambda test: pytest.mark.timeout(0 if MANY else 300)(drawn(test))
