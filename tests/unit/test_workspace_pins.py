"""Pinned schemas are read strictly and read back as they were written."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalroom.errors import ConfigError
from signalroom.stream import Column
from signalroom.workspace.pins import check_type, pin_path, read_pin, write_pin

PIN = """
[columns]
orders_id = "bigint"
price = "DECIMAL(12, 2)"
order_date = { type = "date", path = "Order Date", format = "%m/%d/%Y" }
stamp = { type = "date", format = "epoch@America/New_York" }
"""


def pin(root, text):
    (root / "schemas").mkdir(exist_ok=True)
    pin_path(root, "shop", "orders").write_text(text, encoding="utf-8")


def test_a_pin_is_read_in_file_order(tmp_path):
    assert read_pin(tmp_path, "shop", "orders") == ()
    pin(tmp_path, PIN)
    assert read_pin(tmp_path, "shop", "orders") == (
        Column("orders_id", "bigint"),
        Column("price", "decimal(12,2)"),
        Column("order_date", "date", "Order Date", "%m/%d/%Y"),
        Column("stamp", "date", "", "epoch@America/New_York"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "schemas/shop.orders.toml: it pins no columns."),
        ("[columns]", "it pins no columns."),
        ("[columns]\na = b", r"schemas/shop.orders.toml: .*line 2"),
        ("[colums]\na='text'", r"unknown key 'colums'. Did you mean 'columns'\?"),
        ("[columns]\na = 'bigit'", r"orders.toml.a.type: unknown type 'bigit'. Did you mean 'bigint'\?"),
        ("[columns]\na = 'decimal(39,2)'", "cannot be stored"),
        ("[columns]\na = 'decimal(4,5)'", "cannot be stored"),
        ("[columns]\na = 3", "orders.toml.a: expected a type or a table"),
        ("[columns]\na = {path = 'x'}", "orders.toml.a: the type is missing"),
        ("[columns]\na = {type = 'text', pth = 'x'}", r"unknown key 'pth'. Did you mean 'path'\?"),
        ("[columns]\na = {type = 3}", "orders.toml.a.type: expected str, got int"),
        ("[columns]\na = {type = 'text', format = '%Y'}", "a text has no format"),
        ("[columns]\na = {type = 'date', format = 'MM/DD'}", "is no date format"),
        ("[columns]\na = {type = 'date', format = 'epoch@Mars'}", "unknown time zone 'Mars'"),
        ("[columns]\nOrder_ID = 'text'", "lower snake case"),
        ("[columns]\n_load_id = 'text'", "taken by a control column"),
        ("[columns]\na = 'x'\nb = 'y'\nc = 'z'", r"\(2 more: `signalroom check`"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(tmp_path, text, expected):
    pin(tmp_path, text)
    with pytest.raises(ConfigError, match=expected):
        read_pin(tmp_path, "shop", "orders")


def test_nothing_that_cannot_be_read_back_is_written(tmp_path):
    for columns in ([], [Column("Bad Name")], [Column("a"), Column("a")], [Column("a", "money")]):
        with pytest.raises(ConfigError):
            write_pin(tmp_path, "shop", "orders", columns)
    assert not (tmp_path / "schemas").exists()


NAMES = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=20).filter(
    lambda name: not name[0].isdigit() and not name.startswith("_")
)
PLAIN = st.builds(
    Column,
    NAMES,
    st.sampled_from(["text", "bigint", "double", "boolean", "json", "decimal(38,10)"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
DATED = st.builds(
    Column,
    NAMES,
    st.sampled_from(["date", "timestamp", "timestamptz"]),
    st.just(""),
    st.sampled_from(["", "%m/%d/%Y", '%d."%b".%Y', "epoch@UTC"]),
)


@given(columns=st.lists(PLAIN | DATED, min_size=1, max_size=8, unique_by=lambda column: column.name))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back(tmp_path_factory, columns):
    root = tmp_path_factory.getbasetemp() / "pins"
    write_pin(root, "shop", "orders", columns)
    assert read_pin(root, "shop", "orders") == tuple(columns)
    assert [file.name for file in (root / "schemas").iterdir()] == ["shop.orders.toml"]


def test_types_have_one_spelling():
    assert check_type(" Decimal( 12 , 2 )", "x") == "decimal(12,2)"
    assert check_type("TEXT", "x") == "text"
