"""Settling a read: all trusted nodes are asked, and the newest version wins.

If fewer than a quorum hold it, it is written to those that lack it, with its own version, before it is the answer: so
no later read can give an older one. Each node is asked for the hash tree, the value, and the hash tree again: its
value is of a version if that has not changed meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.reads import State
from sfss.beansdb.versions import Seen, is_foreign, is_tombstone, is_torn, label, unit_of
from sfss.errors import StoreRefused
from sfss.memcache.errors import ProxyError, ProxyRefused
from sfss.memcache.protocol import Value

log = logging.getLogger("sfss.beansdb")

#: Seconds that a quorum waits for the others' answers, and between two looks whether there is a quorum.
_FOR_THE_OTHERS = 0.05
_PAUSE = 0.05
_MOST_TOLD = 50


class Counts:
    """What one process has done for agreement."""

    def __init__(self) -> None:
        self.settled = 0  #: reads for which all were asked
        self.written_back = 0  #: values that a read has written to a node
        self.conflicts = 0  #: versions of which there are two values


class _Answer(NamedTuple):
    node: Node
    connection: NodeConnection
    seen: Seen
    value: Value | None
    refusal: ProxyRefused | None  #: the node has the version, and cannot give its value


async def settle(replicas: Replicas, key: bytes, text: bytes, deadline: float, counts: Counts) -> State:
    """What a quorum holds.

    :raises NoStoreAvailable: when too few can say, until *deadline* on the loop's clock.
    :raises StoreRefused: when no node that has the newest version can give its value.
    """
    counts.settled += 1
    refusals: list[ProxyRefused] = []
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                answers = await _ask(replicas, key, text, deadline)
                if len(answers) >= replicas.quorum:
                    refusals.clear()
                    state = await _agree(replicas, answers, key, text, deadline, counts, refusals)
                    if state is not None:
                        return state
                await asyncio.sleep(replicas.jitter(_PAUSE))
    except TimeoutError:
        if refusals:
            raise StoreRefused(f"The nodes that have the file cannot read it: {refusals[0]}.") from None
        raise replicas.unavailable() from None


async def _ask(replicas: Replicas, key: bytes, text: bytes, deadline: float) -> list[_Answer]:
    """The answers of those that gave one: a quorum, and what comes soon after."""
    asked = [_ask_one(node, connection, key, text, deadline) for node, connection in replicas.trusted()]
    if len(asked) < replicas.quorum:
        for coroutine in asked:
            coroutine.close()
        return []
    return [answer for answer in await quorum_of(asked, replicas.quorum) if answer is not None]


async def _ask_one(
    node: Node, connection: NodeConnection, key: bytes, text: bytes, deadline: float
) -> _Answer | None:
    """None: it has changed meanwhile, or cannot say."""
    try:
        answer: tuple[Seen, Value | ProxyRefused | None, Seen]
        answer = await asyncio.gather(
            connection.look(text, deadline),
            _fetch(connection, key, deadline),
            connection.look(text, deadline),
        )
    except ProxyError:
        return None
    before, found, seen = answer
    if before != seen:
        return None
    if isinstance(found, ProxyRefused):
        return _Answer(node, connection, seen, None, found)
    if (found is None) != (seen.version <= 0):
        return None
    if found is not None and is_torn(found.flags, seen.version):
        return None
    return _Answer(node, connection, seen, found, None)


async def _fetch(connection: NodeConnection, key: bytes, deadline: float) -> Value | ProxyRefused | None:
    try:
        value: Value | None = await connection.fetch(key, deadline)
    except ProxyRefused as refusal:
        return refusal
    return value


async def _agree(
    replicas: Replicas,
    answers: list[_Answer],
    key: bytes,
    text: bytes,
    deadline: float,
    counts: Counts,
    refusals: list[ProxyRefused],
) -> State | None:
    """The newest, which a quorum holds then; None if that could not be reached now."""
    newest = max(answer.seen.age for answer in answers)
    holders = [answer for answer in answers if answer.seen.age == newest]
    source = _source(holders, counts, key)
    if source is None:
        refusals.extend(answer.refusal for answer in holders if answer.refusal is not None)
        return None
    if source.value is not None and is_foreign(source.value.flags, newest):
        replicas.note_foreign(key)
    absent = source.value is None or is_tombstone(source.value.flags, newest)
    state = State(source.seen.version, None if absent or source.value is None else source.value.content)
    lacking = [answer for answer in answers if answer.seen.age < newest]
    if all(answer.seen.version <= 0 for answer in answers):
        return state  # native tombstones are older than all that is ours, and may be forgotten
    held = len(holders)
    if held >= replicas.quorum:
        return state
    is_tombstone_of_ours = absent and source.value is not None
    if (
        is_tombstone_of_ours
        and 0 < replicas.horizon >= unit_of(newest)
        and all(each.seen.version <= 0 for each in lacking)
    ):
        return state  # it is being purged
    flags = label(newest, True) if source.value is None else source.value.flags
    content = b"" if source.value is None else source.value.content
    written = [
        write_back(answer.connection, key, text, flags, newest, content, deadline) for answer in lacking
    ]
    counts.written_back += len(written)
    held += sum(await quorum_of(written, replicas.quorum - held))
    return state if held >= replicas.quorum else None


def _source(holders: list[_Answer], counts: Counts, key: bytes) -> _Answer | None:
    """Whose value it is: always the same, even where earlier writers gave one version to two values."""
    readable = [answer for answer in holders if answer.refusal is None]
    if not readable:
        return None
    hashes = [answer.seen.value_hash for answer in readable]
    if len({answer.seen for answer in readable if answer.seen.version > 0}) > 1:
        counts.conflicts += 1
        if counts.conflicts <= _MOST_TOLD:
            what = {"key": key.decode("ascii", "replace"), "version": readable[0].seen.version}
            log.error("one version has two values", extra=what)
    return max(
        readable,
        key=lambda answer: (
            answer.value is None or is_tombstone(answer.value.flags, answer.seen.version),
            hashes.count(answer.seen.value_hash),
            answer.seen.value_hash,
        ),
    )


async def write_back(
    connection: NodeConnection,
    key: bytes,
    text: bytes,
    flags: int,
    version: int,
    content: bytes | bytearray,
    deadline: float,
) -> bool:
    """Whether the node has this version then, or a newer one."""
    try:
        seen: Seen = await connection.store(key, text, flags, version, content, deadline)
    except ProxyError:
        return False
    return seen.age >= version


async def quorum_of(asked: Sequence[Awaitable[Any]], enough: int) -> list[Any]:
    """The results of *asked*, of which *enough* that are true are waited for, and others only shortly."""
    tasks = {asyncio.ensure_future(each) for each in asked}
    results: list[Any] = []
    try:
        waiting = set(tasks)
        while waiting:
            good = sum(1 for result in results if result)
            timeout = _FOR_THE_OTHERS if good >= enough else None
            done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            results += [task.result() for task in done]
    finally:
        for task in tasks:
            task.cancel()
    return results
