"""``sfss beansdb move``: other members for the cluster's buckets, while it serves (:mod:`sfss.beansdb.move`)."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from sfss.beansdb.move import SETTLING, Move, changed
from sfss.beansdb.repair import NotNow, Repair
from sfss.beansdb.route import RouteError
from sfss.cli.beansdb import PAUSE, cluster_of, name_of, patiently
from sfss.cli.progress import percent
from sfss.config.gateway import Settings
from sfss.errors import SettingsError
from sfss.memcache.errors import ProxyError


class Destination(NamedTuple):
    """*to* or *to_route*: the new members. *left*: nodes that were stopped for good. *finish*: the last step. *cancel*:
    take back what has begun.
    """

    to: tuple[str, ...]
    to_route: str
    left: tuple[str, ...] = ()
    finish: bool = False
    cancel: bool = False


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
        if len(leaving := {node.name for each in moves for node in each.leaving}) > 1:
            # Until all gateways have the new route, those that stay are all needed: no second one may be restarted.
            raise RouteError(
                f"{', '.join(sorted(leaving))} would leave: one node after the other, each to its --finish"
            )
        if destination.cancel:
            await _cancel(moves)
        elif destination.finish:
            await _finish(moves)
        else:
            await _move(moves, destination.left)
    except RouteError as error:
        raise SettingsError(str(error)) from None
    except (NotNow, ProxyError) as error:
        print(f"sfss: {error}", file=sys.stderr)
        return 1
    finally:
        await asyncio.gather(old.close(), new.close())
    return 0


async def _move(moves: list[Move], left: tuple[str, ...]) -> None:
    waiting = [each for each in moves if not await each.is_announced()]
    for each in waiting:
        await _copy(each)
    for each in waiting:
        await _try(each.prepare)
    for leaving in {node.name for each in waiting for node in each.leaving}:  # one, or none
        await _wait_until_left(leaving, [each for each in waiting if each.leaving], left)
    for each in waiting:
        await _announce(each)
    for each in moves:
        await _try(each.admit)
        print(f"{name_of(each.part)}: {', '.join(node.name for node in each.joining) or 'nobody'} joined")
    print(
        "Now start every gateway again with the new route, one after the other; old and new ones may work side by side."
        " Then run this command again with --finish."
    )


async def _copy(each: Move) -> None:
    with percent(f"copy {name_of(each.part)}") as bar:
        async for share in each.copy():
            bar.show(share)
    print(f"{name_of(each.part)}: {each.copied.keys} keys, {each.copied.bytes} bytes copied")


async def _wait_until_left(leaving: str, moves: list[Move], left: tuple[str, ...]) -> None:
    """And until everything that it has acknowledged is on those that stay."""
    names = ", ".join(name_of(each.part) for each in moves)
    if await _are_there(moves, left):
        for each in moves:
            if missing := await each.not_trusted():
                raise NotNow(
                    f"{name_of(each.part)}: {', '.join(missing)} must be trusted before a node leaves"
                )
        print(
            f"Now take {names} from {leaving}: out of main in its own route.yaml, and restart it. (Or stop it for good,"
            f" and say --left {leaving}.) Waiting.",
            flush=True,
        )
    while await _are_there(moves, left):
        await asyncio.sleep(PAUSE)
    until = asyncio.get_running_loop().time() + SETTLING
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(PAUSE)
        if await _are_there(moves, left):
            raise NotNow(f"{leaving} is there again: take it out once more, and call this again")


async def _are_there(moves: list[Move], left: tuple[str, ...]) -> bool:
    found = await asyncio.gather(*(each.still_there(left) for each in moves))
    return any(found)


async def _announce(each: Move) -> None:
    try:
        await _try(each.announce)
    except (NotNow, ProxyError) as error:
        if not each.leaving:
            raise
        name = each.leaving[0].name
        raise NotNow(
            f"{name_of(each.part)}: {error}. {name} may be the only node that has some write: call this with --cancel, "
            f"give {name} its route back, and begin again when all are trusted"
        ) from None
    print(f"{name_of(each.part)}: {', '.join(each.part.members)} count now")


async def _finish(moves: list[Move]) -> None:
    for each in moves:
        await _try(each.finish)
        print(f"{name_of(each.part)}: {', '.join(each.part.members)}")
    # Until every gateway has looked again.
    await asyncio.sleep(2 * max(each.examined_every for each in moves))
    print("Done. Gateways with the old route trust nobody any more, and cannot be started.")


async def _cancel(moves: list[Move]) -> None:
    for each in moves:
        await each.cancel()
        print(f"{name_of(each.part)}: nothing changes")


async def _try(step: Callable[[], Repair]) -> None:
    """Patiently: a node may just have been started, or be under repair."""
    await patiently(lambda: step().run(), (NotNow, ProxyError))
