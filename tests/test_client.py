"""The client library against the real server, and against one that fails."""

import pytest
from aiohttp import web

from sfss.client import Client, ServerUnreachable, UnexpectedAnswer
from sfss.errors import (
    FileTooLarge,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
    PreconditionFailed,
)
from sfss.models import etag_of
from tests.programs import Sfss, free_port


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
    assert info == (7, etag_of(b"content"))
    assert await client.get("a/b c+d%20é.txt") == b"content"
    assert await client.stat("a/b c+d%20é.txt") == info
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
    """A server that gives the statuses in ``answers``, one after the other."""
    answers: list[int] = []
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.Response(status=answers.pop(0), body=b"answer")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with Client("http://%s:%s" % runner.addresses[0]) as client:
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
