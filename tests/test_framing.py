"""Where messages begin and end: one table of cases, whole and byte by byte; and on a real server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfss.errors import HeadTooLarge, InvalidRequest, LengthRequired, SfssError, VersionNotSupported
from sfss.http.framing import MAX_HEAD_BYTES, ChunkedBody, HeadParser, LengthBody, head_size
from sfss.http.messages import Request
from tests.http import RawClient, request
from tests.programs import Sfss

HOST = b"Host: t\r\n"


def head(line: bytes, headers: bytes = HOST) -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


GOOD = {
    head(b"GET /a?b=c HTTP/1.1"): ("GET", "/a?b=c", 0, True),
    head(b"GET / HTTP/1.1", HOST + b"Connection: close\r\n"): ("GET", "/", 0, False),
    head(b"GET / HTTP/1.1", b"Host:\r\n"): ("GET", "/", 0, True),
    head(b"GET / HTTP/1.1", b"Host: [::1]:80\r\n"): ("GET", "/", 0, True),
    head(b"GET / HTTP/1.0", b""): ("GET", "/", 0, False),
    head(b"GET / HTTP/1.0", b"Connection: keep-alive\r\n"): ("GET", "/", 0, True),
    head(b"GET / HTTP/1.0", b"Connection: close, keep-alive\r\n"): ("GET", "/", 0, False),
    head(b"PUT /a HTTP/1.1", HOST + b"Content-Length: 5\r\n"): ("PUT", "/a", 5, True),
    head(b"PUT /a HTTP/1.1", HOST + b"Transfer-Encoding: Chunked\r\n"): ("PUT", "/a", -1, True),
    head(b"PUT /a HTTP/1.1", HOST + b"Content-Length: 5\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"): (
        "PUT",
        "/a",
        5,
        True,
    ),
    head(b"GET /a HTTP/1.1", HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"): ("GET", "/a", 0, True),
    head(b"GET http://t:80/a?b HTTP/1.1"): ("GET", "/a?b", 0, True),
    head(b"GET http://t?b HTTP/1.1"): ("GET", "/?b", 0, True),
    head(b"OPTIONS * HTTP/1.1"): ("OPTIONS", "*", 0, True),
    head("GET /ä HTTP/1.1".encode()): ("GET", "/%C3%A4", 0, True),
    head(b"GET /\xff HTTP/1.1"): ("GET", "/%FF", 0, True),
    head(b"GET /a HTTP/1.1", b"hOsT: t\r\nX: a\r\nX: b\r\n"): ("GET", "/a", 0, True),
}
BAD = {
    head(b"GET / HTTP/1.1", b""): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST * 2): InvalidRequest,
    head(b"GET / HTTP/1.1", b"Host: a b\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", b"Host: a/b\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", b"Host: a@b\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", b"Host : t\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b" folded\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b"No-Colon\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b": no name\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b"X: a\x00b\r\n"): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b"X: a\rb\r\n"): InvalidRequest,
    head(b"GET / HTTP/2.0"): VersionNotSupported,
    head(b"GET / HTTP/1.2"): InvalidRequest,
    head(b"GET  / HTTP/1.1"): InvalidRequest,
    head(b"GET nothing HTTP/1.1"): InvalidRequest,
    head(b"GET * HTTP/1.1"): InvalidRequest,
    head(b"CONNECT t:80 HTTP/1.1"): InvalidRequest,
    head(b"DESCRIBE / HTTP/1.1"): InvalidRequest,
    head(b"SOURCE / ICE/1.0"): InvalidRequest,
    head(b"GET http://t/ HTTP/1.1", b""): InvalidRequest,
    head(b"GET / HTTP/1.1", HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200))): HeadTooLarge,
    head(b"FOO / HTTP/1.1"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: 5, 5\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: +5\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: 0x5\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: 9999999999999999999999\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Transfer-Encoding: gzip, chunked\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.1", HOST + b"Transfer-Encoding: identity\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.0", b"Transfer-Encoding: chunked\r\n"): InvalidRequest,
    head(b"PUT / HTTP/1.0", b""): LengthRequired,
    head(b"POST / HTTP/1.0", b""): LengthRequired,
}  # fmt: skip


def parsed(data: bytes, parser: HeadParser | None = None) -> Request:
    found = Request()
    (parser or HeadParser()).parse(data, found)
    return found


@pytest.mark.parametrize("data", GOOD, ids=repr)
def test_heads(data):
    parser = HeadParser()
    for _ in range(2):  # one parser takes all heads of a connection
        assert [head_size(data[:end]) for end in range(1, len(data))] == [0] * (len(data) - 1)
        assert head_size(data) == head_size(data + b"GET / HTTP/1.1\r\n\r\n") == len(data)
        found = parsed(data, parser)
        length = found.length if found.length is not None else -1 if found.has_body else 0
        assert (found.method, found.target, length, found.keep_alive) == GOOD[data]
        if not found.keep_alive:
            return


@pytest.mark.parametrize("data", BAD, ids=repr)
def test_what_is_none(data):
    with pytest.raises(BAD[data]):
        for end in range(1, len(data) + 1):
            size = head_size(data[:end])
        assert size == len(data)
        parsed(data)


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"garbage garbage garbage\r\n", b"{", b"GET\r\n", b" GET"])
def test_what_never_will_be_one_is_known_at_once(data):
    with pytest.raises(InvalidRequest):
        head_size(data)


def test_the_size_of_a_head_is_limited():
    fits = b"GET / HTTP/1.1\r\nHost: t\r\nX: "
    fits += b"x" * (MAX_HEAD_BYTES - len(fits) - 4) + b"\r\n\r\n"
    assert head_size(fits) == MAX_HEAD_BYTES
    with pytest.raises(HeadTooLarge):
        head_size(fits.replace(b"X: ", b"X: x"))


def test_lines_of_one_name_are_one():
    lines = b"Host: t\r\nX: a\r\ncookie: a\r\nx:b\r\nCookie: b\r\n"
    headers = parsed(head(b"GET / HTTP/1.1", lines)).headers
    assert (headers["x"], headers["cookie"], headers.get("none", "-")) == ("a, b", "a; b", "-")


BODIES = {
    b"0\r\n\r\n": b"",
    b"3\r\nabc\r\n0\r\n\r\n": b"abc",
    b"3;a=b\r\nabc\r\n01;x\r\nd\r\n000\r\nTrailer: x\r\n\r\n": b"abcd",
    b"A\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
}


@pytest.mark.parametrize("data", BODIES, ids=repr)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_chunked_bodies(data, step):
    content, rest = taken(ChunkedBody(), data + b"REST", step)
    assert (content, rest) == (BODIES[data], b"REST")


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"0x1\r\na\r\n", b"1\r\nab", b"1\r\na\n0\r\n\r\n", b"1\na\r\n", b"123456789\r\n",
     b" 1\r\na\r\n", b"1 \x01\r\n", b"1" * 5000, b"0\r\n" + b"a: b\r\n" * 20_000, (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 100],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_chunks_that_are_none(data, step):
    with pytest.raises(InvalidRequest):
        taken(ChunkedBody(), data, step)


def taken(body, data: bytes, step: int) -> tuple[bytes, bytes]:
    content = b""
    position = 0
    while not body.is_whole and position < len(data):
        pieces, used = body.take(data[position : position + step])
        content += b"".join(pieces)
        position += used
    return content, data[position:]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_bodies_of_a_length(data, step):
    assert taken(LengthBody(len(data)), data + b"REST", step) == (data, b"REST")


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_raise_nothing_else(data):
    for whole in (data, b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n", b"PUT " + data):
        try:
            if head_size(whole):
                parsed(whole[: head_size(whole)])
        except SfssError:
            continue


# On a real server.


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"), "--header-timeout", 2)
    with RawClient(server.port) as client:
        assert client.ask(request("PUT", "/file?path=victim", b"alive")).status == 200
    yield server
    server.stop()
    assert "Traceback" not in server.printed()


def victim_lives(server) -> bool:
    with RawClient(server.port) as client:
        return client.ask(request("GET", "/file?path=victim")).body == b"alive"


def test_a_body_is_never_a_request(server):
    """An upgrade that is not made once made the body of what came behind it a request."""
    smuggled = request("DELETE", "/file?path=victim")
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
    stream = request("GET", "/file?path=none", headers=upgrade) + request("PUT", "/file?path=a", smuggled)
    stream += request("PUT", "/file?path=b", smuggled, upgrade)
    stream += request("PUT", "/file?path=c", headers={"Content-Length": "0", **upgrade})
    for step in (len(stream), 1, 7, 60):
        with RawClient(server.port) as client:
            for start in range(0, len(stream), step):
                client.send(stream[start : start + step])
            assert [client.answer().status for _ in range(4)] == [404, 200, 200, 200]
        assert victim_lives(server)
    with RawClient(server.port) as client:
        assert client.ask(request("GET", "/file?path=b")).body == smuggled


@pytest.mark.parametrize(
    "behind", [b"garbage\r\n\r\n", b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"FOO / HTTP/1.1\r\nHost: t\r\n\r\n"]
)
def test_a_whole_request_is_answered_whatever_follows(server, behind):
    with RawClient(server.port) as client:
        client.send(request("GET", "/file?path=victim") + behind)
        assert client.answer().body == b"alive"
        answer = client.answer()
        assert answer.status == 400 and answer.headers["connection"] == "close"
        assert client.closed_by_server()


def test_nothing_is_read_behind_the_last_request(server):
    with RawClient(server.port) as client:
        last = request("GET", "/file?path=victim", headers={"Connection": "close"})
        client.send(last + request("DELETE", "/file?path=victim"))
        assert client.answer().headers["connection"] == "close"
        assert client.closed_by_server()
    assert victim_lives(server)


@pytest.mark.parametrize(
    "data, status",
    [
        (b"PUT /file?path=a HTTP/1.0\r\n\r\n", 411),
        (b"PUT /file?path=a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: t\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 40_000, 431),
        (b"\r\n\r\n\r\nGET /file?path=a\x01 HTTP/1.1\r\n", 400),
    ],
)
def test_what_cannot_be_framed_is_refused_and_closed(server, data, status):
    with RawClient(server.port) as client:
        answer = client.ask(data)
        assert answer.status == status and answer.headers["connection"] == "close"
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.closed_by_server()


def test_repeated_lists_are_one(server):
    """What stands in two lines counts as if it stood in one."""
    put = request("PUT", "/file?path=list", b"x")
    for lines, status in (
        (b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", 415),
        (b"Expect: 100-continue\r\nExpect: more\r\n", 417),
        (b'If-Match: "a"\r\nIf-Match: "b"\r\n', 412),
    ):
        with RawClient(server.port) as client:
            assert client.ask(put.replace(b"Host: test\r\n", b"Host: test\r\n" + lines)).status == status


def test_http_1_0_stays_open_if_it_is_asked_to(server):
    data = b"GET /file?path=victim HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with RawClient(server.port) as client:
        for _ in range(3):
            answer = client.ask(data)
            assert (answer.body, answer.headers["connection"]) == (b"alive", "keep-alive")
        assert client.ask(data.replace(b"keep-alive", b"x")).body == b"alive"
        assert client.closed_by_server()
