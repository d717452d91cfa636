"""The cluster as one process sees it: its nodes, its parts, and how a key gets to them."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.maintenance import Maintenance
from sfss.beansdb.node import TRUSTED, Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.reads import Read, State
from sfss.beansdb.route import Route
from sfss.beansdb.settle import Counts, settle
from sfss.beansdb.units import Units
from sfss.beansdb.writers import Register
from sfss.beansdb.writes import Write
from sfss.completion import Completion
from sfss.errors import SfssError
from sfss.memcache.endpoint import Limits

log = logging.getLogger("sfss.beansdb")

#: How long a request waits for nodes that can be asked, before it says that there are none. Seconds.
PATIENCE = 1.0
_LOOK = 0.02


class Cluster:
    """*route*: which nodes keep what. *addresses*: host and port of each. *quorum*: 0 for most of a part's nodes.

    *wall*: the clock, seconds since the epoch. Belongs to one event loop.
    """

    def __init__(
        self,
        route: Route,
        addresses: dict[str, tuple[str, int]],
        *,
        limits: Limits,
        request_timeout: float,
        quorum: int = 0,
        wall: Callable[[], float] = time.time,
        writer_ids: range | None = None,
    ):
        self.route = route
        self.addresses = {address: addresses[address] for address in route.addresses}
        self.request_timeout = request_timeout
        self.counts = Counts()
        self._shift = route.shift
        self._wall = wall
        self._quorum = quorum
        self._writer_ids = writer_ids
        count = len(route.parts)
        self.nodes = [
            Node(address, *addresses[address], limits, route.parts_of(address), count)
            for address in route.addresses
        ]
        self.parts: list[Replicas] = []
        self.maintenance: list[Maintenance] = []
        self.registers: list[Register] = []
        self._loop: asyncio.AbstractEventLoop
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Try each node once, and begin what goes on in the background."""
        await self.connect()
        for node in self.nodes:
            node.watch()
        for maintenance, register in zip(self.maintenance, self.registers):
            self._go_on(_for_ever(maintenance.run))
            self._go_on(_for_ever(register.keep))

    async def connect(self) -> None:
        """Try each node once, and do no more: nothing is repaired, and nothing can be written."""
        self._loop = loop = asyncio.get_running_loop()
        nodes = {node.name: node for node in self.nodes}
        for part in self.route.parts:
            units = Units(self._wall, loop.time)
            members = [nodes[address] for address in part.members]
            replicas = Replicas(part, members, self._quorum or len(members) // 2 + 1, units)
            self.parts.append(replicas)
            self.maintenance.append(Maintenance(replicas))
            register = (
                Register(replicas) if self._writer_ids is None else Register(replicas, self._writer_ids)
            )
            self.registers.append(register)
        await asyncio.gather(*(node.probe() for node in self.nodes))

    def soon(self, seconds: float) -> float:
        """The deadline that is so far away, on the loop's clock."""
        return self._loop.time() + seconds

    async def close(self) -> None:
        tasks = [*self._tasks, *(task for replicas in self.parts for task in replicas.tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(register.release() for register in self.registers), return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self.nodes))

    def place(self, key: bytes) -> tuple[Replicas, int, bytes]:
        """Who keeps *key*, and its hash, as a number and in hex digits."""
        hashed = key_hash(key)
        return self.parts[hashed >> self._shift], hashed, hash_text(hashed)

    # Each begins without a task, or returns False: then nothing has begun.

    def begin_read(self, key: bytes, completion: Completion) -> bool:
        """The result is the :class:`State`."""
        replicas, hashed, text = self.place(key)
        deadline = self._loop.time() + self.request_timeout
        return Read(replicas, key, hashed, text, deadline, completion, self._settle).begin()

    def begin_write(self, key: bytes, content: bytes | bytearray | None, completion: Completion) -> bool:
        """The result is None."""
        replicas, hashed, text = self.place(key)
        deadline = self._loop.time() + self.request_timeout
        return Write(replicas, key, hashed, text, content, deadline, completion, self._loop).begin()

    def write_over(
        self,
        key: bytes,
        content: bytes | bytearray | None,
        state: State,
        completion: Completion,
        *,
        conditional: bool,
    ) -> None:
        """Write over what was just read. *conditional*: only if nothing else was written meanwhile (best effort)."""
        replicas, hashed, text = self.place(key)
        deadline = self._loop.time() + self.request_timeout
        write = Write(replicas, key, hashed, text, content, deadline, completion, self._loop)
        write.is_conditional = conditional
        write.send(abs(state.version))

    async def read(self, key: bytes) -> State:
        """As :meth:`begin_read`, waiting for nodes. :raises NoStoreAvailable, StoreRefused:"""
        answer = self._loop.create_future()
        await self._begin(key, lambda: self.begin_read(key, answer))
        state: State = await answer
        return state

    async def write(self, key: bytes, content: bytes | bytearray | None) -> None:
        """As :meth:`begin_write`, waiting for nodes. :raises SfssError:"""
        answer = self._loop.create_future()
        await self._begin(key, lambda: self.begin_write(key, content, answer))
        await answer

    async def _begin(self, key: bytes, begin: Callable[[], bool]) -> None:
        patience = self._loop.time() + min(PATIENCE, self.request_timeout)
        while not begin():
            if self._loop.time() >= patience:
                raise self.place(key)[0].unavailable()
            await asyncio.sleep(_LOOK)

    def _settle(self, read: Read) -> None:
        self._go_on(self._settle_read(read))

    async def _settle_read(self, read: Read) -> None:
        try:
            state = await settle(read.replicas, read.key, read.text, read.deadline, self.counts)
        except SfssError as error:
            if not read.completion.done():
                read.completion.set_exception(error)
        else:
            if not read.completion.done():
                read.completion.set_result(state)

    def _go_on(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def is_trusted(self, node: Node) -> bool:
        return node.up and all(node.states[part.number] == TRUSTED for part in node.parts)


async def _for_ever(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A bug in what goes on in the background must not end it."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("an error in the background")
            await asyncio.sleep(1.0)
