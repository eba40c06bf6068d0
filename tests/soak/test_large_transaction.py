"""The program of large transactions, with one that is small, and what keeps memory from growing with it."""

import pytest

from soak.large_transaction import large


@pytest.mark.slow
def test_a_large_transaction_is_read_in_parts_and_nothing_stays(postgres, tmp_path):
    back, whole = large(postgres(), tmp_path, 100_000)
    assert (back.rows, whole.rows) == (0, 100_000)
    assert whole.largest < 60_000, "it was decoded as one"
    assert back.left == whole.left == []
