"""Clusters of real nodes on loopback, with wires between them that tests can harm."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from hashlib import sha1
from pathlib import Path

from tests.faults.relay import Relay
from tests.http import Answer, ask, request
from tests.programs import SfssNode, free_port

NAMES = "ABC"


class Cluster:
    """Nodes that are called A, B, C. *links*: who has whom as a neighbour.

    Each pair has a wire of its own for each direction in which one speaks to the other.
    """

    def __init__(self, folder: Path, *flags: object, links: dict[str, str] | None = None):
        self.folder = folder
        self.links = links or {"A": "BC", "B": "AC", "C": "AB"}
        self.flags = flags
        self.ports = {name: free_port() for name in self.links}
        self.nodes: dict[str, SfssNode] = {}
        self.wires: dict[str, Relay] = {}  # such as "AB"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Cluster":
        for source, targets in self.links.items():
            for target in targets:
                wire = await self._stack.enter_async_context(Relay(self.ports[target]))
                self.wires[source + target] = wire
        await asyncio.gather(*(self.start(name) for name in self.links))
        return self

    async def __aexit__(self, *_: object) -> None:
        living = [node for node in self.nodes.values() if node.process.poll() is None]
        codes = await asyncio.gather(*(asyncio.to_thread(node.stop) for node in living))
        await self._stack.aclose()
        assert not any(codes), codes
        for node in self.nodes.values():
            assert "Traceback" not in node.printed(), node.printed()

    async def start(self, name: str, *flags: object, kind: Callable[..., SfssNode] = SfssNode) -> SfssNode:
        self.nodes[name] = node = await asyncio.to_thread(
            kind,
            self.folder / name,
            *self.flags,
            *flags,
            *(part for other in self.links[name] for part in ("--node", self.url(name, other))),
            port=self.ports[name],
        )
        return node

    def url(self, source: str, target: str) -> str:
        """Where *source* finds *target*."""
        return f"http://127.0.0.1:{self.wires[source + target].port}"

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self.nodes[name].kill)

    def part(self, *groups: str) -> None:
        """Cut all wires between these groups of nodes."""
        for pair, wire in self.wires.items():
            if not any(pair[0] in group and pair[1] in group for group in groups):
                wire.cut()

    def heal(self) -> None:
        for wire in self.wires.values():
            wire.heal()

    # Clients.

    async def ask(self, name: str, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        data = request(method, target, body, {n.replace("_", "-"): v for n, v in headers.items()})
        return await asyncio.to_thread(ask, self.ports[name], data)

    async def put(self, name: str, path: str, content: bytes) -> str:
        """The path that the file has got."""
        answer = await self.ask(name, "PUT", f"/{path}", content)
        assert answer.status in (201, 204, 302), answer
        return answer.headers["location"].removeprefix("/") if "location" in answer.headers else path

    async def get(self, name: str, path: str) -> bytes | None:
        answer = await self.ask(name, "GET", f"/{path}")
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    async def delete(self, name: str, path: str) -> int:
        return (await self.ask(name, "DELETE", f"/{path}")).status

    async def status(self, name: str) -> dict:
        return json.loads((await self.ask(name, "GET", "/_status")).body)

    def files(self, name: str) -> dict[str, str]:
        """What lies in the storage of *name*: SHA-1 by path."""
        storage = self.folder / name / "storage"
        found = {}
        for file in storage.rglob("*"):
            if ".sfss" not in file.parts and file.is_file():
                try:
                    found[str(file.relative_to(storage))] = sha1(file.read_bytes()).hexdigest()
                except FileNotFoundError:
                    continue  # it has just been deleted
        return found

    async def until_equal(self, seconds: float = 30.0, *, told: bool = False) -> dict[str, str]:
        """Wait until all have the same files; those files. *told*: and nothing more to tell."""
        await self.until_roots_are_equal(seconds)
        found: list[dict[str, str]] = []

        async def same_files() -> bool:
            found[:] = [await asyncio.to_thread(self.files, name) for name in self.links]
            return all(files == found[0] for files in found)

        await until(same_files, seconds)

        async def all_told() -> bool:
            queues = [(await self.status(name))["queues"].values() for name in self.links]
            return not any(queue["length"] for each in queues for queue in each)

        if told:
            await until(all_told, seconds)
        return found[0]

    async def until_roots_are_equal(self, seconds: float = 30.0) -> None:
        """The same, where files need not lie at their own paths (a file beside a folder)."""

        async def equal() -> bool:
            return len({(await self.status(name))["root"] for name in self.links}) == 1

        await until(equal, seconds)


async def until(condition: Callable, seconds: float = 20.0) -> None:
    """Wait until *condition*, which may be asynchronous, holds."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.05)
