"""Requests that a coroutine answers: bodies that come slowly or too fast, clients that do not read, or go."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from sfss.errors import InvalidRequest, SfssError, UploadTimeout
from sfss.http.exchange import Exchange
from sfss.http.handler import Handler
from sfss.http.messages import Response
from sfss.http.server import Limits, Server
from sfss.web.streams import Gone, Incoming, Outgoing
from tests.http import RawClient, request

MB = 1_000_000


class Coroutines(Handler):
    """Answers each request by *answer*. What goes wrong in it is kept."""

    def __init__(self, answer: Callable[[Exchange], Awaitable[Response | None]]):
        self._answer = answer
        self._tasks: set[asyncio.Task] = set()
        self.errors: list[Exception] = []

    def new_id(self) -> str:
        return "id"

    def begin(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        try:
            response = await self._answer(exchange)
        except Exception as error:
            self.errors.append(error)
            exchange.fail(error)
        else:
            if response is not None:
                exchange.respond(response)

    def refusal(self, error: Exception, request_id: str) -> Response:
        return Response(400 if isinstance(error, SfssError) else 500, body=str(error).encode(), close=True)

    def answered(self, exchange: Exchange, status: int, bytes_in: int, bytes_out: int) -> None:
        pass

    def refused(self, status: int, bytes_out: int, seconds: float) -> None:
        pass


@contextlib.asynccontextmanager
async def serving(answer):
    handler = Coroutines(answer)
    engine = Server(handler, Limits(5, 5, 5), "Server: test\r\n")
    listener = socket.create_server(("127.0.0.1", 0))
    await engine.listen(listener)
    try:
        yield listener.getsockname()[1], handler
    finally:
        await engine.drain(1)


async def echo(exchange: Exchange) -> Response:
    """What comes, asked for when some of it is there already, and taken slowly."""
    await asyncio.sleep(0.05)
    body = b""
    async for data in Incoming(exchange, 5.0):
        body += data
        if len(body) < 3 * MB:
            await asyncio.sleep(0.001)
    return Response(200, body=body)


@pytest.mark.parametrize("size", [0, 1, 100_000, 5 * MB])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_is_there_before_it_is_asked_for(size, is_chunked):
    content = os.urandom(size)
    data = request("PUT", "/", content)
    if is_chunked:
        pieces = b"".join(
            b"%x\r\n%b\r\n" % (len(p), p) for p in (content[i : i + 70_000] for i in range(0, size, 70_000))
        )
        data = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"

    def client(port: int) -> None:
        with RawClient(port) as client:
            for start in range(0, len(data), 30_000):  # in several steps, the first ones before anybody asks
                client.send(data[start : start + 30_000])
            assert client.answer().body == content
            assert client.ask(request("PUT", "/", b"another")).body == b"another"

    async with serving(echo) as (port, handler):
        await asyncio.to_thread(client, port)
        assert handler.errors == []


async def test_a_chunk_that_has_only_begun_before_the_body_is_asked_for():
    """Reading was held back then, and nothing is there to take yet that would have it go on."""

    def client(port: int) -> None:
        with RawClient(port) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            time.sleep(0.01)
            client.send(b"3")
            time.sleep(0.15)
            client.send(b"\r\nabc\r\n0\r\n\r\n")
            assert client.answer().body == b"abc"

    async with serving(echo) as (port, handler):
        await asyncio.to_thread(client, port)
        assert handler.errors == []


async def test_no_more_is_read_than_is_taken():
    taken = asyncio.Event()

    async def answer(exchange: Exchange) -> Response:
        body = Incoming(exchange, 5.0)
        size = len(await anext(body))
        await asyncio.sleep(0.5)
        assert size + body._size < 2 * MB  # the rest is where it was: with the client, and the kernel
        async for data in body:
            size += len(data)
        taken.set()
        return Response(200, body=str(size).encode())

    def client(port: int) -> None:
        with RawClient(port) as client:
            assert client.ask(request("PUT", "/", bytes(40 * MB))).body == str(40 * MB).encode()

    async with serving(answer) as (port, handler):
        await asyncio.to_thread(client, port)
        assert taken.is_set() and handler.errors == []


async def test_a_body_that_does_not_come():
    async def answer(exchange: Exchange) -> Response:
        async for _ in Incoming(exchange, 0.2):
            pass
        return Response(200)

    def client(port: int) -> None:
        with RawClient(port) as client:
            client.send(request("PUT", "/", bytes(100))[:-50])
            assert b"0.2 s" in client.answer().body
        with RawClient(port) as client:
            client.send(request("PUT", "/", bytes(100))[:-50])

    async with serving(answer) as (port, handler):
        await asyncio.to_thread(client, port)
        await asyncio.sleep(0.1)
        assert [type(error) for error in handler.errors] == [UploadTimeout, InvalidRequest]


async def test_an_invitation_is_sent_when_the_body_is_asked_for():
    async def answer(exchange: Exchange) -> Response:
        exchange.invites = exchange.has_body
        if exchange.path == "/no":
            return Response(403)
        async for _ in Incoming(exchange, 5.0):
            pass
        return Response(200)

    def client(port: int) -> None:
        for body in (b"x", b""):
            data = request("PUT", "/yes", body, {"Expect": "100-continue"})
            with RawClient(port) as client:
                client.send(data[: len(data) - len(body)])
                assert client.answer().status == 100
                client.send(body)
                assert client.answer().status == 200
        with RawClient(port) as client:
            client.send(request("PUT", "/no", b"x", {"Expect": "100-continue"})[:-1])
            assert client.answer().status == 403

    async with serving(answer) as (port, handler):
        await asyncio.to_thread(client, port)
        assert handler.errors == []


async def test_an_answer_waits_for_its_client_and_ends_when_he_goes():
    sent: list[int] = []

    async def answer(exchange: Exchange) -> None:
        outgoing = Outgoing(exchange, 200, "Content-Type: text/plain\r\n", 20 * MB)
        for _ in range(20):
            await outgoing.send(bytes(MB))
            sent.append(MB)
        outgoing.finish()

    def reads(port: int) -> None:
        with RawClient(port) as client:
            client.send(request("GET", "/"))
            found = client.answer()
            assert (len(found.body), found.headers["x-request-id"]) == (20 * MB, "id")
            assert len(client.ask(request("GET", "/")).body) == 20 * MB

    async with serving(answer) as (port, handler):
        await asyncio.to_thread(reads, port)
        assert handler.errors == [] and len(sent) == 40
        sent.clear()
        client = RawClient(port)
        client.send(request("GET", "/"))
        await asyncio.sleep(0.5)
        assert len(sent) < 18  # what the kernel takes
        client.close()
        await asyncio.sleep(0.3)
        assert [type(error) for error in handler.errors] == [Gone]
