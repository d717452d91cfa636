"""``sfss beansdb``: what operators do with a cluster of Beansdb nodes.

Each command returns its exit code: 0, or 1 if something is not as it should be.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from sfss.beansdb.checks import check
from sfss.beansdb.cluster import Cluster
from sfss.beansdb.copying import Copied
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.purge import purge
from sfss.beansdb.repair import NotNow, Repair
from sfss.beansdb.report import Difference, NodeReport, compare, report
from sfss.beansdb.versions import SECONDS_PER_UNIT
from sfss.cli.beansdb import cluster_of, limits, make_store, name_of, patiently
from sfss.cli.beansdb_move import Destination, move
from sfss.cli.progress import percent
from sfss.config.gateway import Settings
from sfss.errors import SettingsError
from sfss.memcache.errors import ProxyError


async def run(what: str, load_settings: Callable[[], Settings], options: dict[str, Any]) -> int:
    """*what*: the command, and *options* its own. :raises SettingsError:"""
    settings = load_settings()
    if not (settings.beansdb or settings.beansdb_route):
        raise SettingsError("no Beansdb node is named: give --beansdb HOST:PORT, or --beansdb-route FILE")
    if what == "ls":
        return await _list(settings, options["json"])
    if what == "move":
        return await move(settings, Destination(**options))
    cluster = cluster_of(settings)
    await cluster.connect()
    try:
        if what == "status":
            return _status(await report(cluster), options["json"])
        if what == "purge":
            # By a clock that is far from the nodes', what is written now would be behind the horizon.
            await check(cluster.route, cluster.addresses, limits(settings), time.time)
            return await _purge(cluster, options["older_than"])
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
        with percent(f"verify {name_of(replicas.part)}") as bar:
            try:
                async for difference in compare(replicas, bar.show):
                    different += 1
                    bar.write(_described(difference), file=sys.stdout)
            except (NotNow, ProxyError) as error:
                print(f"sfss: {name_of(replicas.part)}: {error}", file=sys.stderr)
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
        try:
            copied, marked = await patiently(partial(_repair_part, replicas))
        except (NotNow, ProxyError) as error:
            print(f"sfss: {name_of(replicas.part)}: {error}", file=sys.stderr)
            failed = True
            continue
        names = ", ".join(node.name for node in marked)
        print(
            f"{name_of(replicas.part)}: {copied.keys} keys, {copied.bytes} bytes copied, {copied.unreadable} "
            f"unreadable, {copied.conflicts} versions with two values"
            + (f"; now trusted: {names}" if marked else "")
        )
        failed = failed or bool(copied.unreadable)
    return 1 if failed else 0


async def _repair_part(replicas: Replicas) -> tuple[Copied, list[Node]]:
    """What was copied, and which nodes are trusted now. :raises NotNow: :raises ProxyError:"""
    repair = Repair(replicas, replicas.nodes)
    with percent(f"repair {name_of(replicas.part)}") as bar:
        task = asyncio.ensure_future(repair.run())
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            bar.show(repair.share)
    return repair.copied, task.result()


async def _purge(cluster: Cluster, days: int) -> int:
    """From now on, old tombstones may be missing."""
    failed = False
    for replicas in cluster.parts:
        horizon = replicas.units.clock() - days * 24 * 3600 // SECONDS_PER_UNIT
        try:
            await patiently(partial(_raise_horizon, replicas, horizon))
        except (NotNow, ProxyError) as error:
            print(f"sfss: {name_of(replicas.part)}: {error}", file=sys.stderr)
            failed = True
    if failed:
        return 1
    print(
        f"What was deleted more than {days} days ago is not copied any more. Now empty one node after the other (stop "
        "it, remove its data, start it), and wait until it is trusted again: sfss beansdb status."
    )
    return 0


async def _raise_horizon(replicas: Replicas, horizon: int) -> None:
    await purge(replicas, horizon).run()


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


def _described(difference: Difference) -> str:
    versions = ", ".join(f"{node} {version}" for node, version in difference.versions.items())
    return f"{difference.hashed}: {versions}"
