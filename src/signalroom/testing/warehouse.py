"""The contract of a warehouse: what every adapter must do alike, shipped so that a plugin's author runs the same.

A test of a plugin is one function::

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_contract(check, tmp_path):
        warehouse = MyWarehouse(...)
        check(Bench(warehouse, tmp_path))

Many checks may share one warehouse: each uses a source, so a schema, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from signalroom.testing import (
    warehouse_changes,
    warehouse_files,
    warehouse_history,
    warehouse_merging,
    warehouse_projections,
    warehouse_retrying,
    warehouse_typing,
)
from signalroom.testing.bench import Bench

Check: TypeAlias = Callable[[Bench], None]
"""One law; raises AssertionError where the warehouse breaks it."""

CHECKS: tuple[Check, ...] = (
    *warehouse_merging.CHECKS,
    *warehouse_files.CHECKS,
    *warehouse_typing.CHECKS,
    *warehouse_retrying.CHECKS,
    *warehouse_history.CHECKS,
    *warehouse_changes.CHECKS,
    *warehouse_projections.CHECKS,
)
"""The whole contract."""

__all__ = ["CHECKS", "Bench", "Check", "name_of"]


def name_of(check: Check) -> str:
    """Return the name of a check, as pytest shows it."""
    return check.__name__
