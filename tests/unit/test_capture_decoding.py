"""Bytes that no server sends: they are refused with a sentence, and never read as something else."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.capture.decoding import Decoder, NeedsText
from signalroom.capture.rows import copied
from signalroom.capture.shapes import Field, Shape, relation, require_compatible
from signalroom.capture.spool import Spool
from signalroom.errors import ConfigError, DataError

COLUMNS = (("id", 20, -1, 1), ("name", 25, -1, 0), ("total", 1700, (12 << 16 | 2) + 4, 0), ("at", 1184, -1, 0))


def sent(payload, lsn=100):
    return struct.pack(">cQQQ", b"w", lsn, lsn, 0) + payload


def announced(columns=COLUMNS, name="orders", oid=7):
    told = b"".join(struct.pack(">B", flags) + spelling.encode() + b"\0" + struct.pack(">Ii", kind, modifier)
                    for spelling, kind, modifier, flags in columns)  # fmt: skip
    return b"R" + struct.pack(">I", oid) + b"public\0" + name.encode() + b"\0d" + struct.pack(">h", len(columns)) + told


def row(*cells, verb=b"I", tag=b"N", oid=7):
    told = b"".join(one if len(one) == 1 else b"b" + struct.pack(">i", len(one) - 1) + one[1:] for one in cells)
    return verb + struct.pack(">I", oid) + tag + struct.pack(">h", len(cells)) + told


ONE = (b"b" + struct.pack(">q", 1), b"bann", b"b" + struct.pack(">hhHHh", 1, 0, 0, 2, 5), b"b" + bytes(8))


def decoder(**settings):
    return Decoder({"public.orders": ("id",)}, Spool(), {}, **settings)


def taken(one):
    return [row for _, batches in one.take() for batch in batches for row in batch.to_pylist()]


def test_a_row_is_what_was_sent():
    one = decoder(base=1000)
    one.feed([sent(announced()), sent(row(*ONE), 105)])
    (found,) = taken(one)
    assert (found["id"], found["name"], str(found["total"]), found["_op"], found["_seq"]) == (
        1,
        "ann",
        "5.00",
        "upsert",
        1105,
    )
    assert found["at"].isoformat() == "2000-01-01T00:00:00+00:00"


@given(st.data())
def test_bytes_that_were_changed_are_decoded_or_refused(data):
    message = bytearray(data.draw(st.sampled_from([sent(announced()), sent(row(*ONE))])))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(25, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(26, len(message)))
    one = decoder()
    try:
        one.feed([sent(announced()), bytes(message[:cut]), sent(row(*ONE))])
        rows = taken(one)
    except (DataError, ConfigError, NeedsText):
        return
    assert all(set(found) >= {"_op", "_seq", "_unset"} for found in rows)


@given(st.binary(max_size=80))
def test_a_record_of_a_copy_is_decoded_or_refused(noise):
    shape = Shape(
        7,
        "public",
        "orders",
        tuple(Field(n, o, m, bool(f), "int8" if o == 20 else "text") for n, o, m, f in COLUMNS[:2]),
    )
    try:
        found = copied(shape, [struct.pack(">h", 2) + noise, struct.pack(">hiqi", 2, 8, 1, -1)], 5)
    except (DataError, IndexError):
        return
    assert found.num_rows == 2


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([row(*ONE)], "did not announce"),
        ([announced(), row(*ONE[:3])], "announced"),
        ([announced(), row(*ONE) + b"x"], "too many"),
        ([announced(), row(*ONE)[:-1]], "cut"),
        ([announced(), row(b"b" + bytes(4), *ONE[1:])], "8 bytes of int8"),
        ([announced(), row(ONE[0], ONE[1], b"b" + struct.pack(">hhHHhh", 1, 0, 0, 2, 5, 6), ONE[3])], "digits need"),
        ([announced(), row(*ONE, tag=b"K")], "no known kind"),
        ([announced(), row(*ONE, verb=b"U", tag=b"K")], "without its new row"),
        ([b"Z"], "which no protocol"),
        ([announced()[:-3]], "Relation message"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(messages, said):
    one = decoder()
    with pytest.raises(DataError, match=said):
        one.feed([sent(message) for message in messages]) or taken(one)


def test_a_column_that_only_its_text_tells_is_asked_for_as_text_and_nothing_comes_twice():
    one = decoder()
    one.feed([sent(b"B" + bytes(20)), sent(announced()), sent(row(*ONE), 105)])
    wide = announced((*COLUMNS, ("tags", 1009, -1, 0)))
    with pytest.raises(NeedsText):
        one.feed([sent(wide)])
    one.as_text()
    texts = [
        b"t" + struct.pack(">i", len(text)) + text
        for text in (b"2", b"bob", b"1.50", b"2020-01-01 00:00:00+00", b"{a}")
    ]
    again = b"I" + struct.pack(">I", 7) + b"N" + struct.pack(">h", 5) + b"".join(texts)
    commit = b"C" + struct.pack(">BQQQ", 0, 110, 120, 0)
    one.feed(
        [sent(b"B" + bytes(20)), sent(announced()), sent(row(*ONE), 105), sent(wide), sent(again, 107), sent(commit)]
    )
    assert [(found["id"], found.get("tags")) for found in taken(one)] == [(1, None), ("2", "{a}")]
    assert one.whole == 120


def test_a_part_of_a_transaction_that_was_rolled_back_is_dropped():
    one = decoder()
    begin, end = b"S" + struct.pack(">IB", 50, 1), b"E"

    def part(transaction, payload):
        return payload[:1] + struct.pack(">I", transaction) + payload[1:]

    def numbered(number):
        return row(b"b" + struct.pack(">q", number), *ONE[1:])

    one.feed(
        sent(message) for message in (begin, part(50, announced()), part(50, numbered(1)), part(51, numbered(2)), end)
    )
    assert taken(one) == []
    aborted, other = b"A" + struct.pack(">II", 50, 51), b"A" + struct.pack(">II", 60, 60)
    commit = b"c" + struct.pack(">IBQQQ", 50, 0, 200, 210, 0)
    one.feed(sent(message) for message in (begin, part(50, numbered(3)), end, aborted, other, commit))
    assert [found["id"] for found in taken(one)] == [1, 3]
    assert one.whole == 210


@pytest.mark.parametrize(
    ("was", "now", "fits"),
    [
        ((23, -1), (20, -1), True),
        ((20, -1), (23, -1), False),
        ((1043, 24), (25, -1), True),
        ((1043, 24), (1043, 14), False),
        ((1700, (12 << 16 | 2) + 4), (1700, (14 << 16 | 4) + 4), True),
        ((1700, (12 << 16 | 2) + 4), (1700, (12 << 16 | 4) + 4), False),
        ((1700, (12 << 16 | 2) + 4), (1700, -1), True),
        ((20, -1), (25, -1), False),
    ],
)
def test_a_wider_type_is_taken_and_another_is_not(was, now, fits):
    shape = relation(announced((("id", 20, -1, 1), ("v", *now, 0))), {})
    known = [["id", 20, -1], ["v", *was]]
    if fits:
        require_compatible(shape, known)
    else:
        with pytest.raises(ConfigError, match="snapshot"):
            require_compatible(shape, known)


def test_a_column_that_may_be_renamed_is_refused_and_a_new_one_is_not():
    shape = relation(announced((("id", 20, -1, 1), ("new", 25, -1, 0))), {})
    require_compatible(shape, [["id", 20, -1]])
    with pytest.raises(ConfigError, match="renamed"):
        require_compatible(shape, [["id", 20, -1], ["old", 25, -1]])
