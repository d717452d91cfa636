"""Real gobeansdb nodes, and stores over them, for tests."""

import asyncio
import shutil
import time
from pathlib import Path

import aiomcache

from sfss.beansdb.cluster import Cluster
from sfss.beansdb.route import Route, route_of
from sfss.memcache.endpoint import Limits
from sfss.stores.beansdb import BeansdbStore
from tests import programs

LIMITS = Limits(connections=3, connect_timeout=1.0, operation_timeout=3.0)


def store_over(route: Route, **options) -> BeansdbStore:
    addresses = {address: ("127.0.0.1", int(address.split(":")[1])) for address in route.addresses}
    cluster = Cluster(route, addresses, limits=LIMITS, request_timeout=8.0, **options)
    return BeansdbStore(cluster, addresses, stats_timeout=2.0)


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


class Nodes:
    """Three real nodes of its own, that can be killed and started."""

    def __init__(self, folder: Path, routes: str = "", count: int = 3):
        self.folder = folder
        self.ports = [programs.free_port() for _ in range(count)]
        self.routes = routes or programs.routes(self.ports, programs.free_port())
        self.running = [self._start(port) for port in self.ports]

    def _start(self, port: int) -> programs.Program:
        return programs.start_gobeansdb(self.folder, port, self.routes)

    def kill(self, number: int) -> None:
        self.running[number].kill()

    def start(self, number: int, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(programs.gobeansdb_home(self.folder, self.ports[number]) / "data")
        self.running[number] = self._start(self.ports[number])

    def stop(self) -> None:
        for node in self.running:
            node.kill()

    def client(self, number: int) -> aiomcache.FlagClient:
        async def as_it_is(value: bytes, flags: int) -> bytes:
            return value

        return aiomcache.FlagClient("127.0.0.1", self.ports[number], get_flag_handler=as_it_is)
