"""The parser: whole, byte by byte, cut anywhere, and with whatever may stand behind."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfss.memcache.protocol import (
    MAX_LINE_BYTES,
    Figures,
    ProtocolError,
    ReplyParser,
    Value,
    delete_command,
    get_command,
    set_command,
)

#: Replies as bytes, and what they mean.
REPLIES = [
    (b"END\r\n", b"END"),
    (b"STORED\r\n", b"STORED"),
    (b"DELETED\r\n", b"DELETED"),
    (b"NOT_FOUND\r\n", b"NOT_FOUND"),
    (b"\r\n", b""),
    (b"SERVER_ERROR out of memory storing object\r\n", b"SERVER_ERROR out of memory storing object"),
    (b"VALUE a2V5 0 0\r\n\r\nEND\r\n", Value(b"a2V5", b"")),
    (b"VALUE a2V5 0 5\r\nhello\r\nEND\r\n", Value(b"a2V5", b"hello")),
    (b"VALUE a2V5 65536 7\r\nEND\r\nEN\r\nEND\r\n", Value(b"a2V5", b"END\r\nEN", 65536)),
    (b"STAT pid 1\r\nSTAT version 2.1 b\r\nEND\r\n", Figures([b"pid 1", b"version 2.1 b"])),
    (b"VALUE a 4294967295 1\r\nx\r\nEND\r\n", Value(b"a", b"x", 4294967295)),
    (b"VALUE a 0 3000\r\n" + b"\r" * 3000 + b"\r\nEND\r\n", Value(b"a", b"\r" * 3000)),
]
GARBAGE = [
    b"VALUE a2V5 0\r\n",
    b"VALUE a2V5 0 5 6\r\n",
    b"VALUE a2V5 0 -5\r\n",
    b"VALUE a2V5 0 +5\r\n",
    b"VALUE a2V5 x 5\r\n",
    b"VALUE  0 5\r\n",
    b"VALUE a2V5 0 99999999999999999999\r\n",
    b"VALUE a2V5 0 67108865\r\n",
    b"VALUE a2V5 0 5\r\nhello!\r\nEND\r\n",
    b"VALUE a2V5 0 5\r\nhello\r\nEND\n",
    b"VALUE a2V5 0 5\r\nhello\r\nVALUE b 0 1\r\nx\r\nEND\r\n",
    b"VALUE a2V5 99999999999 0\r\n",
    b"STAT pid 1\r\nSTORED\r\n",
    b"STAT pid 1\r\nVALUE a 0 0\r\n\r\nEND\r\n",
    b"STAT a b\r\n" * 1001,
    b"x" * MAX_LINE_BYTES,
]


def feed(parser: ReplyParser, data: bytes) -> list:
    replies = []
    while data:
        with parser.buffer() as buffer:
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
        data = data[size:]
        replies += parser.received(size)
    return replies


def parse(*chunks: bytes) -> list:
    parser = ReplyParser()
    return [reply for chunk in chunks for reply in feed(parser, chunk)]


@pytest.mark.parametrize("data, reply", REPLIES)
def test_whole(data, reply):
    assert parse(data) == [reply]


@pytest.mark.parametrize("data, reply", REPLIES)
def test_byte_by_byte(data, reply):
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == [reply]


@pytest.mark.parametrize("data, reply", REPLIES)
@pytest.mark.parametrize("behind, next_reply", REPLIES)
def test_with_trailing_data(data, reply, behind, next_reply):
    assert parse(data + behind) == [reply, next_reply]
    assert parse(data + behind[:-1]) == [reply]


@pytest.mark.parametrize("data, reply", REPLIES)
def test_nothing_before_it_is_whole(data, reply):
    parser = ReplyParser()
    assert feed(parser, data[:-1]) == []
    assert feed(parser, data[-1:]) == [reply]


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage(data):
    with pytest.raises(ProtocolError):
        parse(data)
    with pytest.raises(ProtocolError):
        parse(*(data[i : i + 1] for i in range(len(data))))


replies = st.lists(
    st.one_of(
        st.sampled_from([b"END", b"STORED", b"DELETED", b"NOT_FOUND", b"SERVER_ERROR x"]),
        st.builds(
            Value,
            st.binary(min_size=1, max_size=8).map(lambda b: b.hex().encode()),
            st.one_of(st.binary(max_size=200), st.sampled_from([b"\r\nEND\r\n", b"END\r\n" * 9])),
            st.integers(0, (1 << 32) - 1),
        ),
        st.builds(Figures, st.lists(st.sampled_from([b"pid 1", b"END", b"a b c"]), min_size=1, max_size=5)),
    ),
    max_size=8,
)


@given(replies, st.data())
@settings(max_examples=300, deadline=None)
def test_cut_anywhere(expected, data):
    stream = b"".join(
        b"VALUE %b %d %d\r\n%b\r\nEND\r\n" % (r.key, r.flags, len(r.content), r.content)
        if isinstance(r, Value)
        else b"".join(b"STAT %b\r\n" % line for line in r.lines) + b"END\r\n"
        if isinstance(r, Figures)
        else r + b"\r\n"
        for r in expected
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
    assert parse(*chunks) == expected


@given(st.lists(st.binary(max_size=40), max_size=10))
@example([b"VALUE a 0 1\r\nx", b"\r\nENDx"])
@example([b"VALUE ", b"\r\n"])
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_replies_or_an_error(chunks):
    try:
        for reply in parse(*chunks):
            assert isinstance(reply, (bytes, Value))
    except ProtocolError:
        pass  # the only one that may come


def test_missing_bytes_of_a_value_are_known():
    parser = ReplyParser()
    assert parser.missing == 0
    feed(parser, b"VALUE a 0 100\r\n" + b"x" * 30)
    assert parser.missing == 70
    feed(parser, b"x" * 70)
    assert parser.missing == 0  # but for its end
    assert feed(parser, b"\r\nEND\r\n") == [Value(b"a", b"x" * 100)]


def test_a_large_value_gets_its_room_as_it_comes():
    parser = ReplyParser()
    content = bytes(range(256)) * 40_000  # 10 MB
    data = b"VALUE a 0 %d\r\n%b\r\nEND\r\nSTORED\r\n" % (len(content), content)
    feed(parser, data[:100])
    assert len(parser._value) == 4 * 1024 * 1024 < parser.missing
    assert feed(parser, data[100:5_000_000]) == []
    assert len(parser._value) < len(content)
    assert feed(parser, data[5_000_000:]) == [Value(b"a", content), b"STORED"]


def test_commands():
    assert get_command(b"a2V5") == b"get a2V5\r\n"
    assert set_command(b"a2V5", 5) == b"set a2V5 0 0 5\r\n"
    assert delete_command(b"a2V5") == b"delete a2V5\r\n"
