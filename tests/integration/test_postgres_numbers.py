"""Numbers a Postgres warehouse answers with: exact whatever their length, never rounded and never a driver's error."""

from decimal import Decimal

import pyarrow as pa
import pytest

from warehouses import postgres_warehouse

LONG = "12345678901234567890123456789.0123456789"  # 39 digits


@pytest.fixture(scope="module")
def warehouse(postgres_server, tmp_path_factory):
    with postgres_warehouse(postgres_server, tmp_path_factory.mktemp("numbers")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("sql", "kind", "values"),
    [
        ("select 1.50", pa.decimal128(38, 2), [Decimal("1.50")]),
        ("select cast(null as numeric(12, 2))", pa.decimal128(38, 2), [None]),
        ("select 1.0000000000000000000000001", pa.decimal128(38, 25), [Decimal("1.0000000000000000000000001")]),
        (f"select {'9' * 38}", pa.decimal128(38, 0), [Decimal("9" * 38)]),
        ("select 0.00000000000000000000000000000000000001", pa.decimal128(38, 38), [Decimal(1).scaleb(-38)]),
        (f"values (1.5), ({LONG}), (null)", pa.string(), ["1.5", LONG, None]),
        (f"select {'9' * 39}", pa.string(), ["9" * 39]),
        (f"values ({'9' * 30}), (0.{'1' * 20})", pa.string(), ["9" * 30, f"0.{'1' * 20}"]),
        ("values (cast('NaN' as numeric)), (2.5)", pa.string(), ["NaN", "2.5"]),
        ("select cast('1e60' as numeric)", pa.string(), ["1" + "0" * 60]),
    ],
)
def test_a_number_is_exact_or_its_text(warehouse, sql, kind, values):
    column = warehouse.query(f"select * from ({sql}) as t(n)").column("n")
    assert (column.type, column.to_pylist()) == (kind, values)
