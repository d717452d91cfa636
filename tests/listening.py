"""Servers that live in a test's own event loop, and leave nothing behind in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@asynccontextmanager
async def listening(
    serve: Callable[[Reader, Writer], Awaitable[None]], *, limit: int = 1 << 16
) -> AsyncIterator[int]:
    """Have *serve* answer who connects to a port; gives the port.

    At the end all connections are reset and all that is left of *serve* is cancelled. (What outlives the
    loop is found by the garbage collector, and fails the test: conftest.py.)
    """
    writers: set[Writer] = set()
    tasks: set[asyncio.Task] = set()

    async def answer(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.add(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the client has gone, or the test
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=limit)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        # One that was accepted in the turn in which the server is closed would be left open (asyncio's
        # Server._attach then fails): first no more are accepted, and the last ones get the turns until
        # their task runs: one for the transport, one for its protocol, one for the task.
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)  # what was aborted is closed in the next turn
