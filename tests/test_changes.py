"""Messages: whole, cut off anywhere, changed anywhere, with something behind them, and made by an enemy."""

import json
import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from sfss.paths import is_valid_path
from sfss.replication.changes import BadMessage, Change, decode, decode_first, encode
from sfss.replication.clock import FINAL, Clock, Version, seconds_of, stamp_of
from sfss.replication.digests import digests_of

NODE = "0123456789abcdef"


def change(path="a/b", content=b"content", stamp=5):
    return Change(path, Version(stamp, NODE), len(content), digests_of(content), content)


def whole(*changes, **fields) -> bytes:
    return b"".join(encode("push", changes, **fields))


CHANGES = [
    change(),
    change("empty", b""),
    change("ü/名前", bytes(range(256)) * 10, 1 << 60),
    Change("gone", Version(FINAL | 9, NODE), 0, None),
    change("elsewhere")._replace(content=None),
]


def test_a_message_comes_back_as_it_was():
    message = decode(whole(*CHANGES, node=NODE, left=3))
    assert message.kind == "push" and message.fields == {"node": NODE, "left": 3}
    assert message.changes == CHANGES
    assert [c.is_intact for c in message.changes] == [True, True, True, False, False]


def test_one_that_is_cut_off_is_none():
    data = whole(*CHANGES)
    for size in range(len(data)):
        with pytest.raises(BadMessage):
            decode(data[:size])


def test_one_with_something_behind_it():
    data = whole(*CHANGES)
    with pytest.raises(BadMessage):
        decode(data + b"x")
    message, size = decode_first(data + b"x" * 100)
    assert (message.changes, size) == (CHANGES, len(data))


def test_a_bit_that_changes_is_noticed():
    data = whole(change(), change("c", b"x" * 50))
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        try:
            message = decode(damaged)
        except BadMessage:
            continue
        assert not all(change.is_intact for change in message.changes)


def forged(document: object, contents: bytes = b"") -> bytes:
    """What somebody sends who knows the format."""
    data = json.dumps(document).encode() if not isinstance(document, bytes) else document
    return struct.pack("!8sI16s", b"sfssmsg2", len(data), xxhash.xxh3_128_digest(data)) + data + contents


GOOD = ["a", 1, NODE, 0, None, 0]
HASHES = ["0" * 64, "0" * 40]


@pytest.mark.parametrize(
    "row",
    [
        ["../x", 1, NODE, 0, None, 0],
        ["/etc/passwd", 1, NODE, 0, None, 0],
        ["a\u0000b", 1, NODE, 0, None, 0],
        ["\ud800", 1, NODE, 0, None, 0],
        ["", 1, NODE, 0, None, 0],
        [7, 1, NODE, 0, None, 0],
        ["a", -1, NODE, 0, None, 0],
        ["a", 1.5, NODE, 0, None, 0],
        ["a", True, NODE, 0, None, 0],
        ["a", 1 << 61, NODE, 0, None, 0],
        ["a", 1 << 63, NODE, 0, None, 0],
        ["a", FINAL | 1, NODE, 5, HASHES, 0],
        ["a", 1, NODE, 1 << 50, HASHES, 0],
        ["a", 1, "node", 0, None, 0],
        ["a", 1, None, 0, None, 0],
        ["a", 1, NODE, -1, HASHES, 0],
        ["a", 1, NODE, -1, HASHES, 1],
        ["a", 1, NODE, 1 << 70, HASHES, 1],
        ["a", 1, NODE, "1", HASHES, 1],
        ["a", 1, NODE, 5, None, 0],
        ["a", 1, NODE, 0, None, 1],
        ["a", 1, NODE, 5, ["x" * 64, "0" * 40], 0],
        ["a", 1, NODE, 5, ["0" * 64, "x" * 40], 0],
        ["a", 1, NODE, 5, ["0" * 64], 0],
        ["a", 1, NODE, 5, ["0" * 64, "0" * 40, ""], 0],
        ["a", 1, NODE, 5, [5, 5], 0],
        ["a", 1, NODE, 5, "0" * 64, 0],
        ["a", 1, NODE, 5, 5, 0],
        ["a", 1, NODE, 5],
        [*GOOD, 1],
        None,
        "abcdef",
    ],
)
def test_changes_that_cannot_be(row):
    with pytest.raises(BadMessage):
        decode(forged({"kind": "push", "changes": [GOOD, row]}, b"12345"))


@pytest.mark.parametrize(
    "document",
    [
        [], {}, 5, None, {"kind": "x"}, {"changes": []}, {"kind": 5, "changes": []},
        {"kind": "x", "changes": 5}, {"kind": "x", "changes": {"a": 1}},
        b"\xff\xfe", b"{", b"[" * 100_000, b'{"kind": "x", "changes": [], "n": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_documents_that_are_none(document):
    with pytest.raises(BadMessage):
        decode(forged(document))


def test_a_document_that_says_it_is_huge():
    with pytest.raises(BadMessage):
        decode(struct.pack("!8sI16s", b"sfssmsg2", 2**32 - 1, bytes(16)) + b"x" * 1000)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind(data):
    with pytest.raises(BadMessage):
        decode(data)


paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(is_valid_path)


@given(st.lists(st.builds(change, paths, st.binary(max_size=100), st.integers(0, 2**60)), max_size=5))
def test_any_changes_come_back(changes):
    assert decode(whole(*changes)).changes == changes


# Versions.


def test_a_clock_never_goes_back():
    wall = iter([100.0, 50.0, 50.0, 200.0])
    clock = Clock(NODE, lambda: next(wall))
    stamps = [clock.tick() for _ in range(4)]
    assert stamps == sorted(set(stamps))
    assert seconds_of(stamps[0]) == 100.0 and seconds_of(stamps[3]) == 200.0


def test_what_was_seen_is_older():
    clock = Clock(NODE, lambda: 100.0)
    other = Version(stamp_of(5000.0), "f" * 16)
    clock.observe(other.stamp)
    assert clock.version() > other
    assert Version(stamp_of(9000.0), NODE) < Clock(NODE, lambda: 1.0).version(final=True)


def test_a_final_delete_does_not_drive_the_clock():
    clock = Clock(NODE, lambda: 100.0)
    clock.observe(clock.version(final=True).stamp)
    assert seconds_of(clock.tick()) == 100.0
    assert clock.version().stamp < FINAL
