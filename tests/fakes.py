"""A misbehaving memcache server, for what a real one cannot be made to do."""

import asyncio
from collections.abc import Awaitable, Callable

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class FakeProxy:
    """Answers each command by *answer*: an async function of (command, writer).

    *command* is the line without its break; the value of a set has been read by then.
    """

    def __init__(self, answer: Callable[[bytes, Writer], Awaitable[None]]):
        self.answer = answer
        self.commands: list[bytes] = []
        self.connections = 0
        self._writers: list[Writer] = []

    async def __aenter__(self) -> "FakeProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        # One that was accepted in the turn in which the server is closed would be left open (asyncio's
        # Server._attach then fails): first no more are accepted, and the last ones get their turn.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while line := await reader.readline():
                command = line.strip()
                if command.startswith(b"set "):
                    await reader.readexactly(int(command.split()[-1]) + 2)
                self.commands.append(command)
                await self.answer(command, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


def value(command: bytes, content: bytes) -> bytes:
    """The reply to the get *command*."""
    key = command.split()[1]
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(content), content)


async def healthy(command: bytes, writer: Writer) -> None:
    """Has every file; its content is its key."""
    if command.startswith(b"get"):
        writer.write(value(command, command.split()[1]))
    else:
        writer.write(b"STORED\r\n" if command.startswith(b"set") else b"DELETED\r\n")
