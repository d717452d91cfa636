"""``sfss beansdb move``: other members for the cluster's buckets, while it serves (:mod:`sfss.beansdb.move`)."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from sfss.beansdb.move import SETTLING, Move, changed
from sfss.beansdb.repair import NotNow, Repair
from sfss.beansdb.route import RouteError
from sfss.cli.beansdb import cluster_of, name_of
from sfss.cli.progress import percent
from sfss.config.gateway import Settings
from sfss.errors import SettingsError
from sfss.memcache.errors import ProxyError

#: Seconds between two tries, and for how long what may pass is tried again.
_PAUSE, _PATIENCE = 0.5, 20.0


class Destination(NamedTuple):
    """*to* or *to_route*: the new members. *left*: nodes that were stopped for good. *finish*: the last step."""

    to: tuple[str, ...]
    to_route: str
    left: tuple[str, ...]
    finish: bool


async def move(settings: Settings, destination: Destination) -> int:
    """All steps but the last, or the last. :raises SettingsError:"""
    then = replace(settings, beansdb=destination.to, beansdb_route=destination.to_route)
    if bool(destination.to) == bool(destination.to_route):
        raise SettingsError("say where to: --to HOST:PORT for each node, or --to-route FILE")
    old, new = cluster_of(settings), cluster_of(then)
    try:
        parts = changed(old.route, new.route)
        if not parts:
            print("Both routes have the same nodes: there is nothing to move.")
            return 0
        await asyncio.gather(old.connect(), new.connect())
        moves = [Move(old.parts[number], new.parts[number]) for number in parts]
        for each in moves:
            each.check()
        await (_finish(moves) if destination.finish else _move(moves, destination.left))
    except RouteError as error:
        raise SettingsError(str(error)) from None
    except (NotNow, ProxyError) as error:
        print(f"sfss: {error}", file=sys.stderr)
        return 1
    finally:
        await asyncio.gather(old.close(), new.close())
    if destination.finish:
        print("Done. The old route is refused from now on.")
    else:
        print(
            "Now start every gateway again with the new route, one after the other; old and new ones may work side by "
            "side. Then run this command again with --finish."
        )
    return 0


async def _move(moves: list[Move], left: tuple[str, ...]) -> None:
    announced = [each for each in moves if each.is_announced()]
    waiting = [each for each in moves if each not in announced]
    for each in waiting:
        await _copy(each)
    if waiting:
        await _wait_until_left(waiting, left)
    for each in waiting:
        await _try(each.announce)
        print(f"{name_of(each.part)}: {', '.join(each.part.members)} are announced")
    for each in moves:
        await _try(each.admit)
        print(f"{name_of(each.part)}: {', '.join(node.name for node in each.joining) or 'nobody'} joined")


async def _copy(each: Move) -> None:
    with percent(f"copy {name_of(each.part)}") as bar:
        async for share in each.copy():
            bar.show(share)
    print(f"{name_of(each.part)}: {each.copied.keys} keys, {each.copied.bytes} bytes copied")


async def _wait_until_left(moves: list[Move], left: tuple[str, ...]) -> None:
    leaving = [each for each in moves if each.leaving]
    if not leaving:
        return
    told = ""
    for each in leaving:
        if await each.still_there(left) and (missing := await each.not_trusted()):
            raise NotNow(f"{name_of(each.part)}: {', '.join(missing)} must be trusted before a node leaves")
    while True:
        there = [(each, names) for each in leaving if (names := await each.still_there(left))]
        if not there:
            break
        what = "; ".join(f"{name_of(each.part)} from {', '.join(names)}" for each, names in there)
        if what != told:
            print(
                f"Now take {what}: out of main in its own route.yaml, and restart it. (Or stop it for good, and say "
                "--left HOST:PORT.) Waiting.",
                flush=True,
            )
            told = what
        await asyncio.sleep(_PAUSE)
    await asyncio.sleep(SETTLING)


async def _finish(moves: list[Move]) -> None:
    for each in moves:
        await _try(each.finish)
        print(f"{name_of(each.part)}: {', '.join(each.part.members)}")


async def _try(step: Callable[[], Repair]) -> None:
    """Again and again, for what passes: a node that has just been started, or is repaired by a gateway."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        try:
            await step().run()
            return
        except (NotNow, ProxyError):
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_PAUSE)
