"""The fast path against the slow one: the same bytes in, the same answers out, in order."""

import asyncio
import random
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfss.service import FileService
from sfss.settings import Settings
from sfss.stores.sqlite import SqliteStore
from sfss.web.fastpath import MAX_HEAD_BYTES, plain_request
from sfss.web.gateway import make_runner
from sfss.web.server import ClientConnection
from tests.http import Answer, RawClient, request
from tests.programs import Sfss

PLAIN = b"GET /file?path=a/b.txt HTTP/1.1\r\nHost: t\r\n\r\n"

NOT_PLAIN = [
    b"",
    PLAIN[:-1],
    PLAIN + b"x",
    PLAIN + PLAIN,
    PLAIN.replace(b"GET", b"HEAD"),
    PLAIN.replace(b"GET", b"get"),
    PLAIN.replace(b"1.1", b"1.0"),
    PLAIN.replace(b"/file", b"/files"),
    PLAIN.replace(b"path=", b"other=1&path="),
    PLAIN.replace(b"a/b", b"a%2Fb"),
    PLAIN.replace(b"a/b", b"a+b"),
    PLAIN.replace(b"a/b", b"a&path=b"),
    PLAIN.replace(b"a/b", b"a#b"),
    PLAIN.replace(b"a/b", b"\xc3\xa9"),
    PLAIN.replace(b"a/b.txt", b""),
    PLAIN.replace(b" HTTP", b"  HTTP"),
    PLAIN.replace(b"\r\n", b"\n"),
    PLAIN.replace(b"Host: t\r\n", b""),
    PLAIN.replace(b"Host: t\r\n", b"Host: t\r\nHost: t\r\n"),
    PLAIN.replace(b"Host: t", b"Host : t"),
    PLAIN.replace(b"Host: t", b" Host: t"),
    PLAIN.replace(b"Host: t", b"Host: t\r\n folded"),
    PLAIN.replace(b"Host: t", b"Host: \xff"),
    PLAIN.replace(b"Host: t", b"Host: a\x00b"),
    *(
        PLAIN.replace(b"Host: t", b"Host: t\r\n" + header)
        for header in (
            b"Range: bytes=0-1",
            b"range: bytes=0-1",
            b"If-None-Match: *",
            b"If-Match: *",
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Connection: keep-alive, upgrade",
            b"Upgrade: websocket",
            b"Expect: 100-continue",
            b"X-Request-ID: mine",
            b"Authorization: Bearer x",
            b"Unknown: x",
            b"No-Colon",
            b": no name",
        )
    ),
    PLAIN.replace(b"a/b", b"x" * MAX_HEAD_BYTES),
]


@pytest.mark.parametrize("data", NOT_PLAIN)
def test_not_plain(data):
    assert plain_request(data) is None


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: t",
        b"host: t\r\nUser-Agent: curl/8\r\nAccept: */*",
        b"Host: t\r\nConnection: keep-alive\r\nCookie: a=b; c=d",
        b"Host:t\r\nAccept-Encoding: gzip, deflate",
        b"Host:\r\nAccept:",
    ],
)
def test_plain(headers):
    plain = plain_request(PLAIN.replace(b"Host: t", headers))
    assert plain[:4] == ("GET", "/file", "a/b.txt", ()) and plain.body == b""
    assert plain.host in ("t", "")


PUT = b"PUT /file?path=a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("method, target", [("PUT", "/file?path=a"), ("POST", "/files?path=a")])
def test_plain_writes(method, target):
    data = PUT.replace(b"PUT /file?path=a", f"{method} {target}".encode())
    assert plain_request(data) == (method, target.partition("?")[0], "a", (), "t", b"hello")
    typed = data.replace(b"Host", b"Content-Type: image/png\r\nHost")
    assert plain_request(typed) == (method, target.partition("?")[0], "a", (), "t", b"hello")


@pytest.mark.parametrize(
    "data",
    [
        PUT[:-1],
        PUT + b"x",
        PUT.replace(b"PUT", b"GET"),
        PUT.replace(b"Content-Length: 5\r\n", b""),
        PUT.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        PUT.replace(b": 5", b": +5"),
        PUT.replace(b": 5", b": 5, 5"),
        PUT.replace(b": 5", b": 0x5"),
        PUT.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
        PUT.replace(b"Host", b"Content-Type: multipart/form-data; boundary=b\r\nHost"),
        PUT.replace(b"Host", b"Content-Encoding: gzip\r\nHost"),
        PUT.replace(b"Host", b"Content-Range: bytes 0-4/9\r\nHost"),
        PUT.replace(b"Host", b"If-Match: *\r\nHost"),
        PUT.replace(b"Host", b"Expect: 100-continue\r\nHost"),
        PUT.replace(b"PUT /file", b"PUT /files"),
        PUT.replace(b"PUT /file", b"POST /file"),
    ],
)
def test_writes_that_are_not_plain(data):
    assert plain_request(data) is None


@pytest.fixture(scope="module", params=["embedded", "memcached"])
def server(request, tmp_path_factory):
    if request.param == "embedded":
        flags = ["--data", tmp_path_factory.mktemp("data")]
    else:
        flags = ["--proxy", f"127.0.0.1:{request.getfixturevalue('memcached')}"]
    server = Sfss(*flags)
    with RawClient(server.port) as client:
        for path, content in FILES.items():
            assert client.ask(request_put(path, content)).status == 200
    yield server
    server.stop()


FILES = {
    "a/b.txt": b"content",
    "empty": b"",
    "page.html": b"<p>hello</p>",
    "photo.jpeg": random.Random(1).randbytes(50_000),
    "large": random.Random(2).randbytes(1_000_000),
    "x.tar.gz": b"gz",
    "..x": b"dots",
    "~": b"tilde",
}


def request_put(path: str, content: bytes) -> bytes:
    return request("PUT", f"/file?path={path}", content)


def without_the_moment(answer: Answer) -> Answer:
    headers = {n: v for n, v in answer.headers.items() if n not in ("date", "x-request-id")}
    return answer._replace(headers=headers)


@pytest.mark.parametrize(
    "path", [*FILES, "missing", "..", ".", "/absolute", "a//b", "a/", "x" * 1025, "x" * 700]
)
def test_the_same_answer_as_the_slow_path(server, path):
    plain = request("GET", f"/file?path={path}")
    slow = request("GET", f"/file?path={path}", headers={"X-Slow": "please"})
    assert plain_request(slow) is None
    with RawClient(server.port) as client:
        fast, answered = client.ask(plain), client.ask(slow)
    assert without_the_moment(fast) == without_the_moment(answered)
    if path in FILES:
        assert plain_request(plain).path == path
        assert fast.body == FILES[path]


@pytest.mark.parametrize("method, target", [("PUT", "/file?path="), ("POST", "/files?path=")])
@pytest.mark.parametrize("path", ["new/a.txt", "/absolute", "a//b", "x" * 1025])
@pytest.mark.parametrize("size", [0, 1, 5000, 2 * 1024 * 1024 + 1])
def test_writes_get_the_same_answer_as_on_the_slow_path(server, method, target, path, size):
    content = random.Random(size).randbytes(size)
    with RawClient(server.port) as client:
        fast = client.ask(request(method, target + path, content))
    with RawClient(server.port) as client:
        slow = client.ask(request(method, target + path, content, {"X-Slow": "please"}))
        assert without_the_moment(fast) == without_the_moment(slow)
    if fast.status < 300:
        with RawClient(server.port) as client:
            assert client.ask(request("GET", f"/file?path={path}")).body == content


REQUESTS = {
    "plain": request("GET", "/file?path=a/b.txt"),
    "another": request("GET", "/file?path=photo.jpeg"),
    "missing": request("GET", "/file?path=missing"),
    "head": request("HEAD", "/file?path=a/b.txt"),
    "escaped": request("GET", "/file?path=a%2Fb.txt"),
    "part": request("GET", "/file?path=a/b.txt", headers={"Range": "bytes=1-2"}),
    "put": request("PUT", "/file?path=put", b"GET /file?path=a/b.txt HTTP/1.1\r\n\r\n"),
    "slow put": request("PUT", "/file?path=put", b"slow", {"X-Slow": "please"}),
    "bad": request("GET", "/file?path=/"),
    "nothing": request("GET", "/nothing"),
    "post": request("POST", "/files?path=put", b"short"),
    "large": request("PUT", "/file?path=put", b"x" * 100_000),
    "delete": request("DELETE", "/file?path=missing"),
    "chunked": b"PUT /file?path=put HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=8), data=st.data())
def test_any_mixture_in_any_pieces_is_answered_in_order(server, names, data):
    """Requests in a row on one connection, pipelined and cut anywhere, against one at a time."""
    expected = []
    for name in names:
        with RawClient(server.port) as client:
            expected.append(without_the_moment(client.ask(REQUESTS[name])))
    stream = b"".join(REQUESTS[name] for name in names)
    ends = [sum(len(REQUESTS[n]) for n in names[: i + 1]) for i in range(len(names))]
    cuts = data.draw(
        st.sets(st.one_of(st.sampled_from(ends), st.integers(1, len(stream) - 1)), max_size=8)
    )
    pauses = data.draw(st.lists(st.sampled_from([0, 0, 0.001, 0.003]), min_size=9, max_size=9))
    pieces = [stream[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)])]
    with RawClient(server.port) as client:
        for piece, pause in zip(pieces, pauses):
            client.send(piece)
            time.sleep(pause)
        got = [without_the_moment(client.answer(head=name == "head")) for name in names]
    assert got == expected


async def test_a_connection_comes_back_to_the_fast_path(tmp_path, monkeypatch):
    """After a request that only aiohttp could answer. What differs is not to be seen from
    outside, so this one looks inside."""
    taken = []
    answer = ClientConnection.answer
    monkeypatch.setattr(
        ClientConnection, "answer", lambda self, *parts: (taken.append(1), answer(self, *parts))
    )
    store = SqliteStore(tmp_path, request_timeout=5)
    async with serving(store) as port:
        await store.put("a/b.txt", b"content")

        def ask() -> None:
            with RawClient(port) as client:
                assert client.ask(REQUESTS["plain"]).status == 200
                assert len(taken) == 1
                for count, name in enumerate(["head", "slow put", "escaped", "part", "bad"], start=2):
                    client.ask(REQUESTS[name])
                    time.sleep(0.02)  # aiohttp begins to wait for the next a moment later
                    assert client.ask(REQUESTS["plain"]).status == 200
                    assert len(taken) == count, name
                client.ask(REQUESTS["chunked"])  # whose end is not measured
                time.sleep(0.02)
                assert client.ask(REQUESTS["plain"]).status == 200
                assert len(taken) == count

        await asyncio.to_thread(ask)


@asynccontextmanager
async def serving(store):
    """A server over *store* in this process; its port."""
    await store.start()
    settings = Settings(access_log=False, send_timeout=5, keepalive_timeout=5)
    runner = make_runner(FileService(store, max_file_size=1000), settings)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()
    await store.close()


def test_a_client_that_does_not_read_is_not_answered_without_end(server):
    with RawClient(server.port, timeout=2) as client:
        try:
            for _ in range(3000):
                client.send(request("GET", "/file?path=large"))
        except TimeoutError:
            pass  # the server reads no more, either: that is what keeps its memory bounded
    assert server.resident_mb() < 150
