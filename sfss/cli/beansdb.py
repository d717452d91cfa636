"""A cluster of Beansdb nodes, as the settings describe it, and the store over it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sfss.beansdb.checks import check
from sfss.beansdb.cluster import Cluster
from sfss.beansdb.repair import Busy
from sfss.beansdb.route import Part, Route, RouteError, read_route, route_of
from sfss.config.gateway import Settings, split_address
from sfss.errors import SettingsError
from sfss.memcache.endpoint import Limits
from sfss.stores.beansdb import BeansdbStore

T = TypeVar("T")

#: Seconds between two tries, and for how long what passes is tried again. (The lease of a gateway that was killed
#: is good for ten.)
PAUSE, PATIENCE = 0.5, 60.0


def route(settings: Settings) -> Route:
    """:raises SettingsError: if it cannot be read, or gives a bucket too few nodes."""
    try:
        if settings.beansdb_route:
            found = read_route(Path(settings.beansdb_route).read_text("utf-8"))
        else:
            found = route_of(settings.beansdb)
        found.check(settings.beansdb_copies, settings.beansdb_quorum)
    except OSError as error:
        raise SettingsError(f"beansdb_route: {settings.beansdb_route}: {error.strerror}") from None
    except (RouteError, UnicodeDecodeError) as error:
        source = settings.beansdb_route or "beansdb"
        raise SettingsError(f"{source}: {error}") from None
    return found


def name_of(part: Part) -> str:
    """For people."""
    return f"bucket {part.prefix.decode()}" if part.prefix else "all keys"


async def patiently(run: Callable[[], Awaitable[T]], passing: tuple[type[Exception], ...] = (Busy,)) -> T:
    """What *run* returns, which is called again and again for a minute after it has raised one of *passing*."""
    deadline = float("inf")
    while True:
        try:
            return await run()
        except passing:
            now = time.monotonic()
            deadline = min(deadline, now + PATIENCE)
            if now >= deadline:
                raise
            await asyncio.sleep(PAUSE)


def limits(settings: Settings) -> Limits:
    return Limits(settings.connections, settings.connect_timeout, settings.operation_timeout)


def cluster_of(settings: Settings) -> Cluster:
    """Not yet started."""
    nodes = route(settings)
    return Cluster(
        nodes,
        {address: split_address(address) for address in nodes.addresses},
        limits=limits(settings),
        request_timeout=settings.request_timeout,
        quorum=settings.beansdb_quorum,
    )


def make_store(settings: Settings) -> BeansdbStore:
    """Not yet started."""
    cluster = cluster_of(settings)
    return BeansdbStore(
        cluster,
        stats_timeout=settings.operation_timeout,
        hedge_share=settings.hedge_share,
        check=lambda: asyncio.run(check(cluster.route, cluster.addresses, limits(settings), time.time)),
    )
