"""A mixed load through the HTTP port, for as long as it is wanted."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tests.faults.history import File, History, content_of

#: Nothing may take longer; the server's own limits are far below. Seconds.
PATIENCE = 40.0


class Failure(NamedTuple):
    """A request that was no success."""

    began: float  #: by time.monotonic()
    ended: float
    kind: str
    reason: str  #: what the server said


class Load:
    """*clients* that put, get and delete, each with files of its own that all may read; each asks one of *ports*.

    *pause*: between two requests of one client, on the average; seconds.
    """

    def __init__(
        self,
        ports: Sequence[int],
        history: History,
        clients: int = 24,
        files: int = 40,
        pause: float = 0.0,
    ):
        self._pause = pause
        self.history = history
        self.failures: list[Failure] = []
        self.longest_silence = 0.0  # seconds without any success
        self._last_success = time.monotonic()
        self._ports = ports
        self._done = asyncio.Event()
        self._own = [[history.file(f"client-{n}/file-{m}") for m in range(files)] for n in range(clients)]
        self._all = [file for own in self._own for file in own]

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(len(self._own))]
        return self

    async def __aexit__(self, *_) -> None:
        self._done.set()
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        generator = random.Random(number)
        connection = Connection(self._ports[number % len(self._ports)])
        while not self._done.is_set():
            choice = generator.random()
            if choice < 0.6:
                await self._read(connection, generator.choice(self._all))
            elif choice < 0.95:
                size = generator.choice((10, 1000, 1000, 10_000, 10_000, 100_000))
                await self._write(connection, generator.choice(self._own[number]), size)
            else:
                await self._delete(connection, generator.choice(self._own[number]))
            if self._pause:
                await asyncio.sleep(generator.expovariate(1 / self._pause))
        connection.close()

    async def _read(self, connection: "Connection", file: File) -> None:
        acknowledged = file.acknowledged
        status, body = await self._ask(connection, "GET", file)
        if status in (200, 404):
            self.history.check_read(file, acknowledged, status, body)

    async def _write(self, connection: "Connection", file: File, size: int) -> None:
        version = file.begin()
        content = content_of(file.path, version, size)
        status, _ = await self._ask(connection, "PUT", file, content)
        if status == 200:
            file.acknowledged = version

    async def _delete(self, connection: "Connection", file: File) -> None:
        acknowledged = file.acknowledged
        version = file.begin(delete=True)
        status, _ = await self._ask(connection, "DELETE", file)
        if status == 204:
            file.acknowledged = version
        elif status == 404:
            self.history.check_read(file, acknowledged, 404, b"")

    async def _ask(
        self, connection: "Connection", method: str, file: File, content: bytes = b""
    ) -> tuple[int, bytes]:
        """The status and the body; status 0 if there was no answer."""
        began = time.monotonic()
        self.history.requests += 1
        try:
            async with asyncio.timeout(PATIENCE):
                status, body = await connection.ask(method, file.path, content)
        except TimeoutError:
            status, body = 0, b""
            kind = "no answer in time"
            self.history.say(f"{method} {file.path}: no answer within {PATIENCE:g} s")
        except (OSError, EOFError):
            status, body, kind = 0, b"", "connection lost"
        else:
            kind = str(status)
        if status == 0:
            connection.close()
            await asyncio.sleep(0.02)
        self.history.answers[f"{method} {kind}"] += 1
        now = time.monotonic()
        if status in (200, 204, 404):
            self.longest_silence = max(self.longest_silence, now - self._last_success)
            self._last_success = now
        else:
            self.failures.append(Failure(began, now, kind, body.decode("utf-8", "replace").strip()))
            await asyncio.sleep(0.005)
        return status, body

    async def read_all_back(self) -> None:
        """Read each file once more: now it must be what was acknowledged last, or tried since."""
        connections = [Connection(port) for port in self._ports]
        for number, file in enumerate(self._all):
            connection = connections[number % len(connections)]
            for _ in range(100):
                acknowledged = file.acknowledged
                status, body = await self._ask(connection, "GET", file)
                if status in (200, 404):
                    self.history.check_read(file, acknowledged, status, body)
                    break
            else:
                self.history.say(f"{file.path}: cannot be read back: {status}")
        for connection in connections:
            connection.close()


class Connection:
    """A connection to the server, opened when it is needed."""

    def __init__(self, port: int):
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        length = f"Content-Length: {len(content)}\r\n" if method == "PUT" else ""
        head = f"{method} /file?path={path} HTTP/1.1\r\nHost: test\r\n{length}\r\n"
        self._writer.write(head.encode() + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        size = 0
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name == "Content-Length":
                size = int(value)
        body = await self._reader.readexactly(size)
        if "Connection: close" in head:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.transport.abort()
        self._reader = self._writer = None
