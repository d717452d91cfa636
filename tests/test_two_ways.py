"""The two ways to an answer, held against each other: the HTTP engine, which answers what is about files itself,
and the aiohttp application, which can answer everything. They differ in framing, and in nothing else.
"""

import random
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http import Answer, RawClient, form, request
from tests.programs import Program

FILES = {
    "a/b.txt": b"content",
    "empty": b"",
    "page.html": b"<p>hello</p>",
    "photo.jpeg": random.Random(1).randbytes(50_000),
    "large": random.Random(2).randbytes(1_000_000),
    "x.tar.gz": b"gz",
    "..x": b"dots",
    "~": b"tilde",
    "ä/ö.txt": "Grüße".encode(),
    "latin.txt": b"Gr\xfc\xdfe",
}


class Ways(NamedTuple):
    engine: int  #: port
    application: int
    kind: str
    pid: int

    def url(self, path: str) -> str:
        return f"/{path}" if self.kind == "node" else f"/file?path={path}"


@pytest.fixture(scope="module", params=["embedded", "memcached", "node"])
def ways(request, tmp_path_factory):
    where = tmp_path_factory.mktemp("data")
    if request.param == "memcached":
        where = request.getfixturevalue("memcached")
    program = Program([sys.executable, "-m", "tests.two_ways", request.param, where])
    engine, application = map(int, program.wait_for_line(r"ports (\d+) (\d+)").groups())
    ways = Ways(engine, application, request.param, program.process.pid)
    for path, content in {**FILES, "put": b"is replaced"}.items():
        with RawClient(engine) as client:
            assert client.ask(put(ways, path, content)).status in (200, 201)
    yield ways
    program.stop()


def put(ways: Ways, path: str, content: bytes, headers: dict | None = None) -> bytes:
    return request("PUT", ways.url(path), content, headers)


def without_the_moment(answer: Answer) -> Answer:
    """Without what differs from one request to the next, and what belongs to the framing."""
    own = ("date", "x-request-id", "connection", "last-modified")
    return answer._replace(headers={n: v for n, v in answer.headers.items() if n not in own})


def both(ways: Ways, data: bytes) -> list[Answer]:
    answers = []
    for port in (ways.engine, ways.application):
        with RawClient(port) as client:
            answers.append(without_the_moment(client.ask(data)))
    return answers


ETAGS = ('"x"', "*", 'W/"x"', "garbage", '"x", "y"', "")
HEADERS = [
    {},
    {"Range": "bytes=1-2"},
    {"Range": "bytes=-3"},
    {"Range": "bytes=5-"},
    {"Range": "bytes=9999999-"},
    {"Range": "bytes=0-1,3-4"},
    {"Range": "lines=1-2"},
    {"Range": "bytes=0-2", "If-Range": '"x"'},
    *({"If-Match": tag} for tag in ETAGS),
    *({"If-None-Match": tag} for tag in ETAGS),
    {"If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"},
    {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"If-Modified-Since": "no date"},
    {"X-Trace-Id": "1", "traceparent": "00-1-2-3", "X-Other": "ä"},
    {"Authorization": "Bearer nobody"},
    {"Origin": "https://app.example"},
    {"Origin": "https://evil.example"},
    {"Cookie": "a=b", "Accept": "*/*", "Cache-Control": "no-cache"},
    {"X-Request-ID": "mine"},
    {"Expect": "the-unexpected"},
]
ODD_PATHS = [
    "missing",
    "..",
    ".",
    "a//b",
    "a/",
    "x" * 1025,
    "x" * 700,
    "a%2Fb.txt",
    "a%00b",
    "%FF",
    "a%20b",
    "a+b",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_reads(ways, method, headers):
    for path in ("a/b.txt", "photo.jpeg", "empty", "missing", "%C3%A4/%C3%B6.txt", "latin.txt"):
        if headers.get("Range", "").startswith("bytes=9"):
            path = "photo.jpeg"
        engine, application = both(ways, request(method, ways.url(path), headers=headers))
        assert engine == application


def test_files_by_their_paths(ways):
    if ways.kind == "node":
        return  # it has no others
    for path in (*FILES, *ODD_PATHS):
        for method in ("GET", "HEAD"):
            engine, application = both(ways, request(method, f"/file/{quote(path, safe='/%')}"))
            assert engine == application
            if "+" not in path:
                by_argument = both(ways, request(method, f"/file?path={quote(path, safe='/%')}"))[0]
                assert engine.status == by_argument.status
                assert engine.status != 200 or engine == by_argument


@pytest.mark.parametrize("path", [*FILES, *ODD_PATHS])
def test_paths(ways, path):
    for method in ("GET", "HEAD", "DELETE"):
        if method == "DELETE" and unquote(path) in FILES:
            continue
        # (As it stands, what is not ASCII is understood by the engine only.)
        asked = request(method, ways.url(quote(path, safe="/%+")))
        if method == "DELETE":
            both(ways, asked)  # other tests may have left such a file in the store
        engine, application = both(ways, asked)
        assert engine == application, (method, path)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "GET"])
@pytest.mark.parametrize(
    "target",
    [
        "/file",
        "/files",
        "/file?path=a&path=b",
        "/file?other=1",
        "/nothing",
        "/",
        "/healthz",
        "/file?path=a#b",
    ],
)
def test_targets(ways, method, target):
    if ways.kind == "node" and method in ("PUT", "DELETE"):
        return  # these are files there: what the first does is what the second finds
    engine, application = both(ways, request(method, target, b"x" if method in ("PUT", "POST") else b""))
    assert engine == application


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000, 2 * 1024 * 1024 + 1])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "image/png"}, {"If-None-Match": "*"}, {"If-Match": '"x"'}, {"If-Match": "x"},
     {"Content-Encoding": "gzip"}, {"Content-Range": "bytes 0-1/2"}, {"X-Content-SHA1": "0" * 40},
     {"Expect": "100-continue"}, {"Origin": "https://evil.example"}],
    ids=str,
)  # fmt: skip
def test_writes(ways, size, headers):
    content = random.Random(size).randbytes(size)
    answers = []
    for port in (ways.engine, ways.application):
        with RawClient(port) as client:
            client.ask(request("DELETE", ways.url("new/a.txt")))
            client.send(put(ways, "new/a.txt", content, headers))
            answer = client.answer()
            if answer.status == 100:
                answer = client.answer()
        with RawClient(port) as client:
            got = client.ask(request("GET", ways.url("new/a.txt")))
        answers.append((without_the_moment(answer), got.status, got.body))
    assert answers[0] == answers[1]
    if answers[0][0].status < 300:
        assert answers[0][2] == content


def test_forms(ways):
    if ways.kind == "node":
        return  # there a form is a file like others
    for case in (
        form(b"content"),
        form(b"", before=b""),
        (form(b"x")[0][:-4], form(b"x")[1]),
        (b"x", form(b"x")[1]),
    ):
        engine, application = both(ways, put(ways, "form", *case))
        assert engine == application


def chunked(ways: Ways, path: str, *chunks: bytes) -> bytes:
    head = f"PUT {ways.url(path)} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def requests_of(ways: Ways) -> dict[str, bytes]:
    url = ways.url
    return {
        "plain": request("GET", url("a/b.txt")),
        "another": request("GET", url("photo.jpeg")),
        "missing": request("GET", url("missing")),
        "head": request("HEAD", url("a/b.txt")),
        "escaped": request("GET", url("a%2Fb.txt")),
        "part": request("GET", url("a/b.txt"), headers={"Range": "bytes=1-2"}),
        "put": request("PUT", url("put"), b"GET /file?path=a/b.txt HTTP/1.1\r\n\r\n"),
        "bad": request("GET", url("a//b")),
        "nothing": request("GET", "/nothing-of-that-name"),
        "alive": request("GET", "/healthz"),
        "large": request("PUT", url("put"), b"x" * 100_000),
        "delete": request("DELETE", url("missing")),
        "chunked": chunked(ways, "put", b"abc", b"x" * 5000),
        "line break": b"\r\n" + request("GET", url("a/b.txt")),
        "upgrade": request("GET", url("a/b.txt"), headers={"Connection": "Upgrade", "Upgrade": "h2c"}),
        "upgraded put": request(
            "PUT", url("put"), request("DELETE", url("a/b.txt")), {"Connection": "Upgrade", "Upgrade": "h2c"}
        ),
    }


NAMES = ["plain", "another", "missing", "head", "escaped", "part", "put", "bad", "nothing", "alive", "large"]
NAMES += ["delete", "chunked", "line break", "upgrade", "upgraded put"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=8), data=st.data())
def test_any_mixture_in_any_pieces_is_answered_in_order(ways, names, data):
    """Requests in a row on one connection, pipelined and cut anywhere, against one at a time."""
    requests = requests_of(ways)
    expected = []
    for name in names:
        with RawClient(ways.engine) as client:
            expected.append(without_the_moment(client.ask(requests[name])))
    stream = b"".join(requests[name] for name in names)
    ends = [sum(len(requests[n]) for n in names[: i + 1]) for i in range(len(names))]
    cuts = data.draw(st.sets(st.one_of(st.sampled_from(ends), st.integers(1, len(stream) - 1)), max_size=8))
    pauses = data.draw(st.lists(st.sampled_from([0, 0, 0.001, 0.003]), min_size=9, max_size=9))
    pieces = [stream[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)])]
    with RawClient(ways.engine) as client:
        for piece, pause in zip(pieces, pauses):
            client.send(piece)
            time.sleep(pause)
        got = [without_the_moment(client.answer(head=name == "head")) for name in names]
    assert got == expected


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("large", "chunked")])
def test_cut_at_every_byte(ways, name):
    data = requests_of(ways)[name]
    with RawClient(ways.engine) as client:
        expected = without_the_moment(client.ask(data))
    with RawClient(ways.engine) as client:
        for cut in range(1, len(data)):
            client.send(data[:cut])
            time.sleep(0.0005)
            client.send(data[cut:])
            assert without_the_moment(client.answer(head=name == "head")) == expected, cut


def test_a_client_that_does_not_read_is_not_answered_without_end(ways):
    with RawClient(ways.engine, timeout=2) as client:
        try:
            for _ in range(3000):
                client.send(request("GET", ways.url("large")))
        except TimeoutError:
            pass  # the server reads no more, either
        time.sleep(0.5)
        status = Path(f"/proc/{ways.pid}/status").read_text()
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 150_000
