"""Compressed bytes: all of them, or an error."""

import gzip

import pytest
import zstandard

from signalroom.errors import DataError
from signalroom.lake import compression
from signalroom.lake.compression import plain

TEXT = b"".join(b"%d,some text\n" % number for number in range(50))
PACKED = {
    "gzip": gzip.compress(TEXT) + gzip.compress(TEXT),
    "zstd": zstandard.compress(TEXT) + zstandard.compress(TEXT),
}


def unpack(data: bytes, how, size: int = 5) -> bytes:
    return b"".join(plain((data[at : at + size] for at in range(0, len(data), size)), how))


@pytest.mark.parametrize("how", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_several_members_are_one_text(how, size):
    assert unpack(PACKED[how], how, size) == TEXT + TEXT


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_bytes_cut_anywhere_are_never_taken_for_the_whole(how):
    data = PACKED[how]
    for size in range(1, len(data)):
        try:
            found = unpack(data[:size], how)
        except DataError as problem:
            assert "end early" in problem.message  # noqa: PT017 - where it does not raise, see below
        else:
            assert found == TEXT, size  # cut between the members: one whole file


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_bytes_that_are_something_else(how):
    for data in (b"hello, world", PACKED[how] + b"junk after it"):
        with pytest.raises(DataError, match=f"not {how}"):
            unpack(data, how)


def test_padding_after_gzip_is_nothing():
    assert unpack(PACKED["gzip"] + b"\0" * 1000, "gzip") == TEXT + TEXT


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_noticed(pack, monkeypatch):
    monkeypatch.setattr(compression, "_BOMB_BYTES", 1 << 20)
    how = "gzip" if pack is gzip.compress else "zstd"
    with pytest.raises(DataError, match="more than 250 times"):
        unpack(pack(b"\0" * (8 << 20)), how, 4096)
