"""A cluster of Beansdb nodes, as the settings describe it: the store over it, and ``sfss beansdb`` for operators."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from sfss.beansdb.checks import check
from sfss.beansdb.cluster import Cluster
from sfss.beansdb.part import Replicas
from sfss.beansdb.repair import NotNow, Repair
from sfss.beansdb.report import Difference, NodeReport, compare, report
from sfss.beansdb.route import Route, RouteError, read_route, route_of
from sfss.config.gateway import Settings, split_address
from sfss.errors import SettingsError
from sfss.memcache.endpoint import Limits
from sfss.memcache.errors import ProxyError
from sfss.stores.beansdb import BeansdbStore


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
    addresses = {address: split_address(address) for address in cluster.route.addresses}
    return BeansdbStore(
        cluster,
        addresses,
        stats_timeout=settings.operation_timeout,
        hedge_share=settings.hedge_share,
        check=lambda: asyncio.run(check(cluster.route, addresses, limits(settings), time.time)),
    )


# The commands. Each returns its exit code: 0, or 1 if something is not as it should be.


async def run(what: str, load_settings: Callable[[], Settings], as_json: bool) -> int:
    """``status``, ``verify``, ``repair`` or ``ls``. :raises SettingsError:"""
    settings = load_settings()
    if not (settings.beansdb or settings.beansdb_route):
        raise SettingsError("no Beansdb node is named: give --beansdb HOST:PORT, or --beansdb-route FILE")
    if what == "ls":
        return await _list(settings, as_json)
    cluster = cluster_of(settings)
    await cluster.connect()
    try:
        if what == "status":
            return _status(await report(cluster), as_json)
        return await (_verify if what == "verify" else _repair)(cluster.parts)
    finally:
        await cluster.close()


def _status(reports: list[NodeReport], as_json: bool) -> int:
    if as_json:
        print(json.dumps([node._asdict() for node in reports], indent=2))
    else:
        print(f"{'node':24} {'state':10} {'trusted for':>12} {'keys':>12} {'up for':>10}  repair")
        for node in reports:
            uptime = "" if node.uptime is None else f"{node.uptime} s"
            keys = "" if node.keys is None else str(node.keys)
            trusted = f"{node.trusted} of {node.buckets}"
            print(f"{node.node:24} {node.state:10} {trusted:>12} {keys:>12} {uptime:>10}  {node.repair}")
    return 0 if all(node.state == "trusted" for node in reports) else 1


async def _verify(parts: Iterable[Replicas]) -> int:
    """Compare all nodes, and change nothing."""
    different = 0
    for replicas in parts:
        with _bar(f"verify {_name(replicas)}") as bar:
            try:
                async for difference in compare(replicas, bar.show):
                    different += 1
                    bar.write(_described(difference), file=sys.stdout)
            except (NotNow, ProxyError) as error:
                print(f"sfss: {_name(replicas)}: {error}", file=sys.stderr)
                return 1
    print(
        f"{different} keys are not alike on all nodes"
        + ("; sfss beansdb repair makes them so" if different else "")
    )
    return 1 if different else 0


async def _repair(parts: Iterable[Replicas]) -> int:
    """Give every node the newest version of each key, and fenced nodes their marks."""
    failed = False
    for replicas in parts:
        repair = Repair(replicas, replicas.nodes)
        with _bar(f"repair {_name(replicas)}") as bar:
            task = asyncio.ensure_future(repair.run())
            while not task.done():
                await asyncio.wait({task}, timeout=0.2)
                bar.show(repair.share)
        try:
            marked = task.result()
        except (NotNow, ProxyError) as error:
            print(f"sfss: {_name(replicas)}: {error}", file=sys.stderr)
            failed = True
            continue
        copied = repair.copied
        names = ", ".join(node.name for node in marked)
        print(
            f"{_name(replicas)}: {copied.keys} keys, {copied.bytes} bytes copied, {copied.unreadable} unreadable, "
            f"{copied.conflicts} versions with two values" + (f"; now trusted: {names}" if marked else "")
        )
        failed = failed or bool(copied.unreadable)
    return 1 if failed else 0


async def _list(settings: Settings, as_json: bool) -> int:
    """The paths of all files, in no order."""
    store = make_store(settings)
    await store.connect()
    try:
        cursor: str | None = ""
        unnamed = 0
        while cursor is not None:
            listing = await store.list_files(cursor=cursor)
            for file in listing.files:
                print(json.dumps(file._asdict()) if as_json else file.path)
            unnamed += listing.unnamed
            cursor = listing.cursor
    finally:
        await store.close()
    if unnamed:
        print(f"sfss: {unnamed} files have paths that are too long to be in their keys", file=sys.stderr)
    return 0


def _name(replicas: Replicas) -> str:
    return f"bucket {replicas.part.prefix.decode()}" if replicas.part.prefix else "all keys"


def _described(difference: Difference) -> str:
    versions = ", ".join(f"{node} {version}" for node, version in difference.versions.items())
    return f"{difference.hashed}: {versions}"


class _Bar(tqdm):  # type: ignore[type-arg]  # it is generic in its stubs only
    def show(self, share: float) -> None:
        self.update(round(share * 100) - self.n)


def _bar(what: str) -> _Bar:
    # It shows itself on a terminal only.
    return _Bar(desc=what, total=100, unit="%", disable=None, file=sys.stderr, leave=False)
