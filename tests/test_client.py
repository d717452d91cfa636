"""Both clients, by one contract, against the real server, and against one that fails."""

import asyncio
import inspect
import io
import os
import socket
import tarfile
import tempfile
import threading
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from sfss.client import Client, ServerUnreachable, SyncClient, UnexpectedAnswer
from sfss.client.contents import Content, SourceFailed
from sfss.errors import (
    FileTooLarge,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
    Overloaded,
    PreconditionFailed,
    StoreFull,
)
from sfss.models import etag_of
from tests.http import ask, request
from tests.programs import Sfss, SfssNode, free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Sfss("--data", tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


class InThreads:
    """A SyncClient as one for asyncio: each of its calls in a thread, and what it gives in pieces, one after the other."""

    def __init__(self, *arguments: Any, **settings: Any):
        self._client = SyncClient(*arguments, **settings)

    async def __aenter__(self) -> "InThreads":
        self._client.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name in ("url_of", "signed_url"):
            return method

        async def called(*arguments: Any, **settings: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **settings)

        return called

    async def list_pages(self, *arguments: Any, **settings: Any) -> Any:
        for page in await asyncio.to_thread(lambda: list(self._client.list_pages(*arguments, **settings))):
            yield page

    @asynccontextmanager
    async def _streamed(self, opened: Any) -> Any:
        stream = await asyncio.to_thread(opened.__enter__)
        try:
            yield Stream(stream)
        finally:
            opened.__exit__(None, None, None)

    def stream(self, path: str) -> Any:
        return self._streamed(self._client.stream(path))

    def archive(self, prefix: str = "") -> Any:
        return self._streamed(self._client.archive(prefix))


class Stream:
    def __init__(self, stream: Any):
        self.size, self.headers, self._stream = stream.size, stream.headers, stream

    async def __aiter__(self) -> Any:
        pieces = iter(self._stream)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece


@pytest.fixture(params=[Client, InThreads], ids=["asyncio", "threads"])
def make(request):
    return request.param


@pytest.fixture
async def client(server, make):
    async with make(server.url) as client:
        yield client


async def test_a_client_that_is_not_open_says_so():
    client = Client("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="async with"):
        await client.get("a")
    async with client:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await client.get("a")


async def test_put_get_stat_delete(client):
    info = await client.put("a/b c+d%20é.txt", b"content")
    assert info == (7, etag_of(b"content"), "a/b c+d%20é.txt")
    assert await client.get("a/b c+d%20é.txt") == b"content"
    assert (await client.stat("a/b c+d%20é.txt"))[:2] == info[:2]
    await client.delete("a/b c+d%20é.txt")
    for ask in (client.get, client.stat, client.delete):
        with pytest.raises(NotFound):
            await ask("a/b c+d%20é.txt")


async def test_empty_file(client):
    await client.put("empty", b"")
    assert await client.get("empty") == b""
    assert (await client.stat("empty")).size == 0


async def test_conditions(client):
    first = await client.put("guarded", b"1")
    with pytest.raises(PreconditionFailed):
        await client.put("guarded", b"2", only_if_new=True)
    with pytest.raises(PreconditionFailed):
        await client.put("guarded", b"2", if_match="another")
    await client.put("guarded", b"2", if_match=first.etag)


async def test_errors_are_the_services_own(client):
    with pytest.raises(InvalidRequest, match="begins with '/'"):
        await client.get("/a")
    with pytest.raises(FileTooLarge, match="at most 2097152"):
        await client.put("big", b"x" * (2 * 1024 * 1024 + 1))


async def test_status(client):
    (figures,) = (await client.status()).values()
    assert "curr_items" in figures
    assert (await client.status(full=True))["webserver"]["pid"]


async def test_nobody_there(make):
    async with make(f"http://127.0.0.1:{free_port()}", retries=1) as client:
        with pytest.raises(ServerUnreachable):
            await client.get("a")
    with pytest.raises(InvalidRequest):
        make("ftp://x")


async def test_urls(make):
    for url in ("x", "http://", "http://127.0.0.1:99999", "http://[::1"):
        with pytest.raises(InvalidRequest):
            make(url)


@pytest.fixture
async def failing(make):
    """A server that gives the ``answers``, one after the other: each a status, or that with a text and headers."""
    answers: list[Any] = []
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.method)
        answer = answers.pop(0)
        status, text, headers = answer if isinstance(answer, tuple) else (answer, "answer", {})
        return web.Response(status=status, body=text.encode(), headers=headers)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with make("http://{}:{}".format(*runner.addresses[0])) as client:
        yield client, answers, seen
    await runner.cleanup()


async def test_what_may_pass_is_tried_again(failing):
    client, answers, seen = failing
    answers += [503, 502, 504, 204]
    await client.delete("a")
    assert len(seen) == 4
    answers += [504] * 4
    with pytest.raises(NoStoreAvailable):
        await client.get("a")
    assert not answers


async def test_what_will_not_change_is_not(failing):
    client, answers, seen = failing
    for status, error in [
        (404, NotFound),
        (413, FileTooLarge),
        (500, UnexpectedAnswer),
        (200, UnexpectedAnswer),  # but not with what its ETag says
        (204, UnexpectedAnswer),
        (206, UnexpectedAnswer),
        (302, UnexpectedAnswer),
    ]:
        answers[:] = [status]
        with pytest.raises(error):
            await client.get("a")


async def test_another_server_is_not_taken_for_sfss(failing):
    client, answers, _ = failing
    for ask in (client.put("a", b"x"), client.status(), client.stat("a")):
        answers[:] = [200]
        with pytest.raises(UnexpectedAnswer):
            await ask


async def test_a_retried_delete_that_finds_nothing_has_succeeded(failing):
    client, answers, seen = failing
    answers += [504, 404]
    await client.delete("a")
    answers += [404]
    with pytest.raises(NotFound):
        await client.delete("a")


# Nodes.


@pytest.fixture(scope="module", params=["exact", "generated"])
def node(request, tmp_path_factory):
    node = SfssNode(tmp_path_factory.mktemp(request.param), "--names", request.param)
    node.names = request.param
    yield node
    node.stop()


@pytest.mark.parametrize("said", [None, "node"])
async def test_it_finds_out_that_it_speaks_to_a_node(make, node, said):
    path, content = f"a/b c+d%20é-{said}.txt", b"content"
    async with make(node.url, server=said) as client:
        kept = await client.put(path, content)
        assert kept[:2] == (7, etag_of(content))
        assert (kept.path == path) == (node.names == "exact")
        assert await client.put(path, content) == kept
        assert await client.get(kept.path) == content
        assert (await client.stat(kept.path))[:2] == kept[:2]
        assert "queues" in await client.status()
        await client.delete(kept.path)
        for ask in (client.get, client.stat, client.delete):
            with pytest.raises(NotFound):
                await ask(kept.path)
    for path in ("file", "files"):  # nothing was kept under the name of a gateway's URL
        with pytest.raises(NotFound):
            async with make(node.url, server="node") as client:
                await client.get(path)


@pytest.mark.parametrize("first", ["get", "stat", "delete"])
async def test_whatever_it_asks_first(make, node, first):
    async with make(node.url) as client:
        with pytest.raises(NotFound):
            await getattr(client, first)("missing")
        assert (await client.put("x", b"1")).size == 1


async def test_many_at_once_find_it_out_together(make, node):
    """All go out in a gateway's form at first."""
    async with make(node.url) as client:
        kept = await asyncio.gather(*(client.put(f"many/{n}", b"%d" % n) for n in range(12)))
    async with make(node.url) as client:
        contents = await asyncio.gather(*(client.get(stored.path) for stored in kept))
    assert contents == [b"%d" % n for n in range(12)]


async def test_a_file_named_status_is_not_taken_for_the_figures(make, node):
    async with make(node.url) as client:
        await client.put("status", b'{"version": "none"}')
    async with make(node.url) as client:
        assert "queues" in await client.status()


async def test_conditions_at_a_node(make, node):
    if node.names != "exact":
        return
    async with make(node.url) as client:
        name = f"guarded-{make.__name__}"
        await client.put(name, b"1", only_if_new=True)
        with pytest.raises(PreconditionFailed):
            await client.put(name, b"2", only_if_new=True)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "GET", "HEAD"])
def test_a_node_refuses_what_is_meant_for_a_gateway(node, method):
    for target in ("/file?path=a.txt", "/files?path=a.txt", "/a.txt?path=b"):
        answer = ask(node.port, request(method, target, b"x" if method in ("PUT", "POST") else b""))
        assert answer.status in ((400,) if method != "POST" else (400, 405)), answer
        if method != "POST":
            assert answer.headers["x-sfss-server"] == "node"
    for name in ("/file", "/files", "/a.txt"):
        assert ask(node.port, request("GET", name)).status == 404


def test_a_write_with_any_query_is_refused_and_a_read_may_have_one(node):
    assert ask(node.port, request("PUT", "/q.txt?x=1", b"1")).status == 400
    assert ask(node.port, request("DELETE", "/q.txt?x=1")).status == 400
    put = ask(node.port, request("PUT", "/q.txt", b"1"))
    url = put.headers.get("location", "/q.txt")
    assert ask(node.port, request("GET", f"{url}?v=3")).body == b"1"


def test_healthz_says_what_it_is(node, server):
    assert ask(node.port, request("GET", "/healthz")).headers["x-sfss-server"] == "node"
    assert ask(server.port, request("GET", "/healthz")).headers["x-sfss-server"] == "gateway"


# Words for what goes wrong.


async def test_why_there_is_no_answer(make):
    url = f"http://127.0.0.1:{free_port()}"
    async with make(url, retries=0) as client:
        with pytest.raises(ServerUnreachable, match="cannot connect: Connection refused$"):
            await client.get("a")
    async with make("http://no-such-host.invalid", retries=0) as client:
        with pytest.raises(ServerUnreachable, match="there is no host 'no-such-host.invalid'"):
            await client.get("a")
    with pytest.raises(InvalidRequest, match="/nowhere.pem cannot be used: No such file"):
        async with make(url, ca_file="/nowhere.pem"):
            pass
    with pytest.raises(InvalidRequest, match="gateway or node"):
        make(url, server="other")


# Many at once.


async def test_when_a_server_fails_nothing_more_is_deleted(failing):
    client, answers, seen = failing
    answers += [204] * 5 + [507] + [204] * 1000
    with pytest.raises(StoreFull):
        await client.delete_many(map(str, range(1000)))
    told = len(seen)
    await asyncio.sleep(0.3)
    assert len(seen) == told < 60


async def test_a_listing_without_end(failing):
    client, answers, _ = failing
    answers += [200, (200, '{"files": [], "next": "x", "ordered": true}', {})]
    assert (await client.list_page()).next == "x"
    answers += [(200, '{"files": [], "next": "x", "ordered": true}', {})]
    with pytest.raises(UnexpectedAnswer):
        await client.list_page(after="x")


@pytest.mark.parametrize("kind", ["gateway", "node"])
async def test_many_files_in_one_request(make, kind, server, node, tmp_path):
    if kind == "node" and node.names == "generated":
        async with make(node.url) as client:
            outcomes = await client.put_many({"g/a": b"1"})
            assert outcomes["g/a"].path != "g/a" and await client.get(outcomes["g/a"].path) == b"1"
        return
    files = {f"batch/{n}/ä +#%": b"%d" % n * n for n in range(300)} | {"batch/" + "long/" * 50 + "x": b"long"}
    async with make((server if kind == "gateway" else node).url) as client:
        large = {"large": bytes(2_500_000)} if kind == "gateway" else {}
        outcomes = await client.put_many({**files, "../out": b"x", **large})
        assert isinstance(outcomes.pop("../out"), InvalidRequest)
        assert not large or isinstance(outcomes.pop("large"), FileTooLarge)
        assert {path: kept[:2] for path, kept in outcomes.items()} == {
            path: (len(content), etag_of(content)) for path, content in files.items()
        }
        assert await client.get_many([*files, "missing"]) == files
        found, after = [], ""
        while after is not None:
            page = await client.list_page("batch/", after=after, limit=100)
            assert page.is_ordered and len(page.files) <= 100
            found += page.files
            after = page.next
        assert {file.path: file.size for file in found} == {path: len(c) for path, c in files.items()}
        assert (await client.list_page("", delimiter="/")).folders.count("batch/") == 1
        assert await client.delete_many([*files, "missing"]) == {}
        assert (await client.list_page("batch/")).files == []


async def test_what_was_not_taken_is_sent_again(failing):
    """Of an archive a part was kept, and the store failed then."""
    client, answers, seen = failing
    etag = etag_of(b"1")
    report = (
        f'{{"path": "a", "size": 1, "etag": "{etag}"}}\n{{"path": "b", "status": 504, "error": "away"}}\n'
        '{"files": 1, "bytes": 1, "failed": 1, "status": 504, "error": "away. The rest was not taken."}\n'
    )
    lines = {"Content-Type": "application/x-ndjson"}
    answers += [
        200,
        (504, report, lines),
        (504, report.replace('"a"', '"c"'), lines),
    ]
    answers += [(504, report, lines)] * 2
    with pytest.raises(NoStoreAvailable, match="away"):
        await client.put_many({"a": b"1", "b": b"2", "c": b"1"})
    assert not answers
    answers += [
        (504, report, lines),
        (200, report.replace('"path": "b", "status": 504', f'"path": "b", "etag": "{etag_of(b"2")}"'), lines),
    ]
    outcomes = await client.put_many({"a": b"1", "b": b"2"})
    assert outcomes["a"].etag == etag and outcomes["b"].size == 1
    answers += [(507, report.replace("504", "507"), lines)]
    with pytest.raises(StoreFull, match="^away$"):  # at once
        await client.put_many({"a": b"1", "b": b"2", "c": b"1"})
    answers += [(507, report.replace("504", "507"), lines)]
    with pytest.raises(StoreFull):  # though each file has its answer
        await client.put_many({"a": b"1", "b": b"2"})
    answers[:] = [(200, "no report", lines)]
    with pytest.raises(UnexpectedAnswer):
        await client.put_many({"a": b"1"})


# In pieces.


async def test_a_file_in_pieces(client):
    content = os.urandom(1_500_000)
    await client.put("pieces/large", content)
    await client.put("pieces/empty", b"")
    for path, expected in [("pieces/large", content), ("pieces/empty", b"")]:
        async with client.stream(path) as stream:
            assert stream.size == len(expected) and stream.headers["ETag"] == f'"{etag_of(expected)}"'
            assert b"".join([piece async for piece in stream]) == expected
    async with client.stream("pieces/large") as stream:
        async for _ in stream:
            break  # the rest is of no interest
    with pytest.raises(NotFound):
        async with client.stream("pieces/none"):
            pass
    assert await client.get("pieces/large") == content


@pytest.mark.parametrize("where", ["gateway", "node"])
async def test_an_archive_in_pieces(make, server, node, where):
    async with make((server if where == "gateway" else node).url) as client:
        kept = [await client.put(f"archived/{n}/é.txt", b"%d" % n) for n in range(3)]
        prefix = "archived/" if where == "gateway" or node.names == "exact" else ""
        async with client.archive(prefix) as stream:
            archive = b"".join([piece async for piece in stream])
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert {stored.path for stored in kept} <= set(opened.getnames())


def _sources(content: bytes, folder: Any) -> dict[str, Any]:
    (folder / "file").write_bytes(b"before" + content)
    file = (folder / "file").open("rb")
    file.seek(6)
    spooled = tempfile.SpooledTemporaryFile()
    spooled.write(content)
    spooled.seek(0)
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write).start()
    halves = [content[:700_000], content[700_000:]]
    return {
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "wide": memoryview(content).cast("I"),
        "file": file,
        "spooled": spooled,
        "pipe": os.fdopen(reading, "rb"),
        "list": halves,
        "iterator": (half for half in halves),
    }


@pytest.mark.parametrize("where", ["gateway", "node"])
async def test_whatever_can_be_read_can_be_sent(make, server, node, where, tmp_path):
    content = os.urandom(1_400_000)
    async with make((server if where == "gateway" else node).url) as client:
        for name, source in _sources(content, tmp_path).items():
            kept = await client.put(f"sources/{name}", source)
            assert kept[:2] == (len(content), etag_of(content)), name
            assert await client.get(kept.path) == content, name
            if hasattr(source, "close"):
                source.close()


async def test_only_asyncio_has_asynchronous_iterables(make, server):
    async def pieces():
        yield b"1"
        yield b"2"

    async with make(server.url) as client:
        if make is Client:
            assert (await client.put("awaited", pieces())).size == 2
            assert await client.get("awaited") == b"12"
        else:
            with pytest.raises(InvalidRequest, match="asynchronous"):
                await client.put("awaited", pieces())


async def test_what_fails_in_the_content_is_said_as_it_is(client, tmp_path):
    def pieces():
        yield b"1"
        raise ZeroDivisionError("of the site's own")

    def failing_disk():
        yield b"1"
        raise OSError(5, "Input/output error")

    shrunk = tmp_path / "shrunk"
    shrunk.write_bytes(bytes(400_000))
    for source, error, words in [
        (pieces(), ZeroDivisionError, "own"),
        (failing_disk(), OSError, "Input/output"),
        (iter([b"1", "text"]), InvalidRequest, "is str; it must be bytes"),
        ("text", InvalidRequest, "encode it"),
        (io.StringIO("text"), InvalidRequest, "mode 'rb'"),
    ]:
        with pytest.raises(error, match=words):
            await client.put("broken", source)
        with pytest.raises(NotFound):
            await client.get("broken")
    with shrunk.open("rb") as file:
        content = Content(file)
        os.truncate(shrunk, 1000)
        with pytest.raises(SourceFailed):
            list(content)
        assert "had 400000 bytes, and ended after 1000" in str(content.error)


async def test_a_file_is_sent_again_and_an_iterator_is_not(failing):
    client, answers, seen = failing
    etag = {"ETag": f'"{etag_of(b"12")}"'}
    await client_knows(client, answers)
    answers += [503, (200, "", etag)]
    assert (await client.put("a", io.BytesIO(b"12"))).size == 2
    answers += [503]
    with pytest.raises(Overloaded):
        await client.put("a", iter([b"1", b"2"]))
    assert not answers


async def client_knows(client: Any, answers: list[Any]) -> None:
    """What it speaks to."""
    answers += [(200, "{}", {})] * 2
    await client.status()
    answers.clear()


async def test_pieces_of_wider_items_are_counted_in_bytes(client):
    """Counted in items, what is behind them would be read as another request."""
    pieces = [memoryview(b"ABCDEFGH").cast("I"), b"", bytearray(b"ij"), memoryview(b"")]
    assert (await client.put("wide-pieces", pieces)).size == 10
    assert await client.get("wide-pieces") == b"ABCDEFGHij"


async def test_what_cannot_be_sent_is_refused(client):
    class NotYet(io.RawIOBase):
        def read(self, size=-1):
            return None

    class OnlyRead:
        left = [b"1", b"2", b""]

        def read(self, size):
            return self.left.pop(0)

    for source in (None, 5, memoryview(b"abcdef")[::2], NotYet()):
        with pytest.raises(InvalidRequest, match="content"):
            await client.put("never", source)
    with pytest.raises(NotFound):
        await client.get("never")
    assert (await client.put("only-read", OnlyRead())).size == 2
    behind = io.BytesIO(b"123")
    behind.seek(10)
    assert (await client.put("behind-its-end", behind)).size == 0


async def test_an_iterator_is_not_sent_twice_when_the_server_is_another_one(failing):
    """It was a gateway, and is a node now: what is sent again would be empty."""
    client, answers, seen = failing
    await client_knows(client, answers)
    answers += [(400, "", {"X-SFSS-Server": "node"})] + [(201, "", {"ETag": f'"{etag_of(b"")}"'})] * 3
    with pytest.raises(InvalidRequest):
        await client.put("a", iter([b"1", b"2"]))
    await asyncio.sleep(0.3)  # what was sent all the same would arrive
    assert len(answers) == 3
    content = Content(iter([b"1", b"2"]))
    assert list(content) == [b"1", b"2"]
    with pytest.raises(SourceFailed):
        list(content)


async def test_a_file_that_is_still_read_for_a_try_that_was_given_up(server):
    """Two tries must not read one file at the same time."""
    content = os.urandom(1_000_000)

    class Slow(io.BytesIO):
        waits = [2.0, 0.1]  # once beyond the time-out, into the middle of the next try

        def read(self, size=-1):
            time.sleep(self.waits.pop() if self.waits else 0.15)
            return super().read(size)

    async with Client(server.url, timeout=1.5, retries=5) as client:
        assert (await client.put("slowly", Slow(content))).etag == etag_of(content)
        assert await client.get("slowly") == content


async def test_no_path_in_an_archive_is_that_of_another_file(client):
    await client.put("victim", b"precious")
    bad = ["victim\0x", "/victim", "./victim", "a/../victim", "\ud800", ""]
    outcomes = await client.put_many(dict.fromkeys(bad, b"evil") | {"beside": b"good"})
    assert outcomes.pop("beside").size == 4
    assert outcomes.keys() == set(bad) and all(isinstance(one, InvalidRequest) for one in outcomes.values())
    assert await client.get("victim") == b"precious"


async def test_one_path_is_not_taken_for_many(client):
    for ask in (client.get_many, client.delete_many):
        with pytest.raises(InvalidRequest, match="paths is a str"):
            await ask("abc")
    await client.put("kept", b"1")
    with pytest.raises((TypeError, InvalidRequest, AttributeError)):
        await client.delete_many([None] * 20 + ["kept"])


@pytest.mark.parametrize(
    "failure", [BrokenPipeError(32, "of the source"), ConnectionResetError(104, "of the source")]
)
async def test_an_error_of_the_source_is_not_one_of_the_connection(client, failure):
    def pieces():
        yield b"1"
        raise failure

    with pytest.raises(type(failure), match="of the source"):
        await asyncio.wait_for(client.put("broken", pieces()), 10)


async def test_a_server_that_wants_to_be_left_alone_for_a_day(failing):
    client, answers, _ = failing
    answers += [(503, "", {"Retry-After": "86400"})]
    with pytest.raises(Overloaded):
        await asyncio.wait_for(client.get("a"), 10)


def test_whoever_waits_for_a_connection_does_not_wait_for_ever(server):
    with SyncClient(server.url, connections=1, timeout=0.3, retries=0) as client:
        client.put("streamed", bytes(1_000_000))
        with client.stream("streamed"):
            with pytest.raises(ServerUnreachable, match="connections are in use"):
                client.get("streamed")
        assert len(client.get("streamed")) == 1_000_000


@pytest.mark.parametrize("said", [4, 100])
async def test_a_stream_that_is_not_what_was_said(make, said):
    """Of another content than its ETag says, or cut off."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\nbody' % said)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,)).start()
        async with make(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            async with client.stream("a") as stream:
                with pytest.raises(UnexpectedAnswer if said == 4 else ServerUnreachable):
                    async for _ in stream:
                        pass


# Who one is, and where.


async def test_a_password_in_the_url(make):
    heads: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        heads.append(request)
        return web.Response(body=b"1", headers={"ETag": f'"{etag_of(b"1")}"'})

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _, port = runner.addresses[0]
    async with make(f"http://ann:p%40ss@127.0.0.1:{port}/below/") as client:
        assert await client.get("a b") == b"1"
        assert client.url_of("x") == f"http://127.0.0.1:{port}/below/file?path=x"
    (request,) = heads
    assert request.headers["Authorization"] == "Basic YW5uOnBAc3M="
    assert request.raw_path == "/below/file?path=a%20b"
    await runner.cleanup()
    with pytest.raises(InvalidRequest, match="only one"):
        make("http://ann:x@localhost", token="t")
    with pytest.raises(InvalidRequest, match="query"):
        make("http://localhost/?a=1")


def test_what_makes_no_client(make):
    for url in (
        "http://[::1]x:80",
        "http://exa mple.com",
        f"http://{'a' * 70}.example",
        "http://[1.2.3.4]",
        "http://h/\r\n",
    ):
        try:
            assert "\r" not in make(url).url_of("a")
        except InvalidRequest:
            continue
        assert url.endswith("\n")  # (which urlsplit takes out)
    for settings in ({"token": "a b"}, {"token": "é"}, {"token": "a\r\nX: y"}, {"timeout": 0}, {"timeout": -1.0},
                     {"timeout": float("inf")}, {"connections": 0}):  # fmt: skip
        with pytest.raises(InvalidRequest):
            make("http://localhost", **settings)
    assert make("http://localhost/a folder/é").url_of("x") == "http://localhost/a%20folder/%C3%A9/file?path=x"
    assert make("http://[::1]:80").url_of("x") == "http://[::1]:80/file?path=x"


async def test_an_etag_that_is_none(client):
    with pytest.raises(InvalidRequest, match="no ETag"):
        await client.put("guarded", b"1", if_match='x"\r\nX: y')


def test_both_have_the_same_operations():
    def public(kind: type) -> dict[str, Any]:
        return {
            name: inspect.signature(value) for name, value in inspect.getmembers(kind, inspect.isfunction)
        }

    def shape(signature: inspect.Signature) -> list[tuple[str, Any]]:
        return [(one.name, one.default) for one in signature.parameters.values()]

    one, other = ({n: s for n, s in public(kind).items() if n[0] != "_"} for kind in (Client, SyncClient))
    assert one.keys() == other.keys() - {"close"} and "put" in one
    assert all(shape(one[name]) == shape(other[name]) for name in one)
    assert one["put"].return_annotation.__name__ == "Stored"
    assert inspect.iscoroutinefunction(Client.put) and "Keep *content*" in (SyncClient.put.__doc__ or "")


def test_threads_share_a_client(server):
    failures = []
    with SyncClient(server.url, connections=4) as client:

        def work(number: int) -> None:
            try:
                for n in range(20):
                    path, content = f"threads/{number}/{n}", b"%d %d" % (number, n)
                    client.put(path, content)
                    assert client.get(path) == content
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert client.get("threads/0/0") == b"0 0"  # closed, and used again
    client.close()


def test_a_client_on_both_sides_of_a_fork(server):
    """Each has its own connections: on one, an answer would go to whoever reads first."""
    with SyncClient(server.url, retries=0) as client:
        client.put("forked", b"parent")
        client.put("forked-child", b"child")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if all(client.get("forked-child") == b"child" for _ in range(200)) else 2
            finally:
                os._exit(status)
        assert all(client.get("forked") == b"parent" for _ in range(200))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
