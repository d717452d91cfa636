"""A misbehaving memcache server, for what a real one cannot be made to do."""

from collections.abc import Awaitable, Callable

from tests.listening import Reader, Writer, listening


class FakeProxy:
    """Answers each command by *answer*: an async function of (command, writer).

    *command* is the line without its break; the value of a set has been read by then.
    """

    def __init__(self, answer: Callable[[bytes, Writer], Awaitable[None]]):
        self.answer = answer
        self.commands: list[bytes] = []
        self.connections = 0
        self._writers: list[Writer] = []
        self._listening = listening(self._serve)

    async def __aenter__(self) -> "FakeProxy":
        self.port = await self._listening.__aenter__()
        return self

    async def __aexit__(self, *_) -> None:
        await self._listening.__aexit__(None, None, None)

    def reset_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self._writers.append(writer)
        while line := await reader.readline():
            command = line.strip()
            if command.startswith(b"set "):
                await reader.readexactly(int(command.split()[-1]) + 2)
            self.commands.append(command)
            await self.answer(command, writer)


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
