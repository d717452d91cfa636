"""The client library against the real server, and against one that fails."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from sfss.client import Client, ServerUnreachable, UnexpectedAnswer
from sfss.errors import (
    FileTooLarge,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
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


@pytest.fixture
async def client(server):
    async with Client(server.url) as client:
        yield client


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


async def test_nobody_there():
    async with Client(f"http://127.0.0.1:{free_port()}", retries=1) as client:
        with pytest.raises(ServerUnreachable):
            await client.get("a")
    with pytest.raises(InvalidRequest):
        Client("ftp://x")


async def test_urls():
    for url in ("x", "http://", "http://127.0.0.1:99999", "http://[::1"):
        with pytest.raises(InvalidRequest):
            Client(url)


@pytest.fixture
async def failing():
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
    async with Client("http://{}:{}".format(*runner.addresses[0])) as client:
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
async def test_it_finds_out_that_it_speaks_to_a_node(node, said):
    path, content = f"a/b c+d%20é-{said}.txt", b"content"
    async with Client(node.url, server=said) as client:
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
            async with Client(node.url, server="node") as client:
                await client.get(path)


@pytest.mark.parametrize("first", ["get", "stat", "delete"])
async def test_whatever_it_asks_first(node, first):
    async with Client(node.url) as client:
        with pytest.raises(NotFound):
            await getattr(client, first)("missing")
        assert (await client.put("x", b"1")).size == 1


async def test_many_at_once_find_it_out_together(node):
    """All go out in a gateway's form at first."""
    async with Client(node.url) as client:
        kept = await asyncio.gather(*(client.put(f"many/{n}", b"%d" % n) for n in range(12)))
    async with Client(node.url) as client:
        contents = await asyncio.gather(*(client.get(stored.path) for stored in kept))
    assert contents == [b"%d" % n for n in range(12)]


async def test_a_file_named_status_is_not_taken_for_the_figures(node):
    async with Client(node.url) as client:
        await client.put("status", b'{"version": "none"}')
    async with Client(node.url) as client:
        assert "queues" in await client.status()


async def test_conditions_at_a_node(node):
    if node.names != "exact":
        return
    async with Client(node.url) as client:
        await client.put("guarded", b"1", only_if_new=True)
        with pytest.raises(PreconditionFailed):
            await client.put("guarded", b"2", only_if_new=True)


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


async def test_why_there_is_no_answer():
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(url, retries=0) as client:
        with pytest.raises(ServerUnreachable, match="cannot connect: Connection refused$"):
            await client.get("a")
    async with Client("http://no-such-host.invalid", retries=0) as client:
        with pytest.raises(ServerUnreachable, match="there is no host 'no-such-host.invalid'"):
            await client.get("a")
    with pytest.raises(InvalidRequest, match="/nowhere.pem cannot be used: No such file"):
        async with Client(url, ca_file="/nowhere.pem"):
            pass
    with pytest.raises(InvalidRequest, match="gateway or node"):
        Client(url, server="other")


# Many at once.


async def test_when_a_server_fails_nothing_more_is_deleted(failing):
    client, answers, seen = failing
    client._retries = 0
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
async def test_many_files_in_one_request(kind, server, node, tmp_path):
    if kind == "node" and node.names == "generated":
        async with Client(node.url) as client:
            outcomes = await client.put_many({"g/a": b"1"})
            assert outcomes["g/a"].path != "g/a" and await client.get(outcomes["g/a"].path) == b"1"
        return
    files = {f"batch/{n}/ä +#%": b"%d" % n * n for n in range(300)} | {"batch/" + "long/" * 50 + "x": b"long"}
    async with Client((server if kind == "gateway" else node).url) as client:
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
