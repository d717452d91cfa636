"""Real gobeansdb nodes, and stores over them, for tests."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiomcache

from sfss.beansdb.cluster import Cluster
from sfss.beansdb.route import Route, route_of
from sfss.memcache.endpoint import Limits
from sfss.memcache.keys import memcache_key
from sfss.stores.beansdb import BeansdbStore
from tests import programs

LIMITS = Limits(connections=3, connect_timeout=1.0, operation_timeout=3.0)


def store_over(route: Route, **options) -> BeansdbStore:
    addresses = {address: ("127.0.0.1", int(address.split(":")[1])) for address in route.addresses}
    cluster = Cluster(route, addresses, limits=LIMITS, request_timeout=8.0, **options)
    return BeansdbStore(cluster, stats_timeout=2.0)


async def trusted(store: BeansdbStore, seconds: float = 20.0) -> None:
    """Wait until all nodes are trusted, and there is a writer id."""
    deadline = time.monotonic() + seconds
    cluster = store._cluster
    while not (
        all(cluster.is_trusted(node) for node in cluster.nodes)
        and all(part.units.writer >= 0 for part in cluster.parts)
    ):
        assert time.monotonic() < deadline, [(node.name, node.state) for node in cluster.nodes]
        await asyncio.sleep(0.02)


def plain_route(ports: list[int]) -> Route:
    return route_of(tuple(f"127.0.0.1:{port}" for port in ports))


async def trusted_again(store: BeansdbStore) -> None:
    """The same after something has happened to them, which is noticed first."""
    await asyncio.sleep(0.5)
    await trusted(store)


def run(*arguments: object) -> subprocess.CompletedProcess:
    """The ``sfss`` command, to its end."""
    command = [sys.executable, "-m", "sfss", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=programs.ROOT, timeout=60)


class Nodes:
    """Three real nodes of its own, that can be killed and started."""

    def __init__(self, folder: Path, routes: str = "", count: int = 3):
        self.folder = folder
        self.ports = [programs.free_port() for _ in range(count)]
        self.routes = [routes or programs.routes(self.ports, programs.free_port())] * count
        self.running = [self._start(number) for number in range(count)]

    def _start(self, number: int) -> programs.Program:
        return programs.start_gobeansdb(self.folder, self.ports[number], self.routes[number])

    def _data(self, number: int) -> Path:
        return programs.gobeansdb_home(self.folder, self.ports[number]) / "data"

    def flags(self, ports: Sequence[int] = ()) -> list[str]:
        return [flag for port in ports or self.ports for flag in ("--beansdb", f"127.0.0.1:{port}")]

    def add(self, port: int, routes: str) -> None:
        self.ports = [*self.ports, port]
        self.routes.append(routes)
        self.running.append(self._start(len(self.ports) - 1))

    def use_route(self, number: int, routes: str) -> None:
        """From its next start."""
        self.routes[number] = routes

    def keep_disk(self, number: int) -> None:
        data = self._data(number)
        shutil.copytree(data, data.with_name("kept"))

    def bring_back_disk(self, number: int) -> None:
        data = self._data(number)
        shutil.rmtree(data)
        data.with_name("kept").rename(data)

    async def has(self, number: int, path: str) -> bool:
        """Whether it has anything under the key of *path*, a tombstone too."""
        client = self.client(number)
        found = await client.get(b"?" + memcache_key(path))
        await client.close()
        return found is not None

    def kill(self, number: int) -> None:
        self.running[number].kill()

    def start(self, number: int, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self._data(number))
        self.running[number] = self._start(number)

    def stop(self) -> None:
        for node in self.running:
            node.kill()

    def client(self, number: int) -> aiomcache.FlagClient:
        async def as_it_is(value: bytes, flags: int) -> bytes:
            return value

        return aiomcache.FlagClient("127.0.0.1", self.ports[number], get_flag_handler=as_it_is)
