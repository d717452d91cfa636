"""Copying single keys from node to node, each with its own version."""

import asyncio
import logging
from collections.abc import Sequence

from sfss.beansdb.connection import NodeConnection, Record
from sfss.beansdb.versions import Seen, fits, label
from sfss.memcache.errors import ProxyError, ProxyRefused

log = logging.getLogger("sfss.beansdb")

#: Seconds for one step.
PATIENCE = 10.0
_MOST_TOLD = 50


class Copied:
    """How much was copied, and what could not be."""

    def __init__(self) -> None:
        self.keys = 0
        self.bytes = 0
        self.unreadable = 0  #: no node that has the newest version could give its value
        self.conflicts = 0  #: one version, two values


async def make_equal(
    hashed: bytes, connections: Sequence[NodeConnection], seen: Sequence[Seen], copied: Copied
) -> None:
    """Give all *connections* the newest version of a key; *seen*: what each has.

    :raises ProxyError: when one of them cannot be given it.
    """
    newest = max(each.age for each in seen)
    holders = [number for number, each in enumerate(seen) if each.age == newest]
    lacking = [number for number, each in enumerate(seen) if each.age < newest]
    if len({seen[number] for number in holders if seen[number].version > 0}) > 1:
        copied.conflicts += 1
        _tell(copied.conflicts, "one version has two values", hashed, newest)
    if not lacking:
        return
    if any(seen[number].version < 0 for number in holders):
        # A native tombstone: ours says the same, and can be set with a version.
        lacking = [number for number in lacking if seen[number].version > 0]
        if not lacking:
            return
        record = await _record(hashed, [connections[number] for number in lacking])
        tombstone = record and Record(record.key, label(newest, True), newest, b"")
        record = tombstone
    else:
        record = await _record(hashed, [connections[number] for number in holders])
    if record is None or record.value is None:
        copied.unreadable += 1
        _tell(copied.unreadable, "no node can give a value", hashed, newest)
        return
    if record.version <= 0:
        return  # it was deleted natively meanwhile, by somebody who is out of bounds
    value = record.value
    await asyncio.gather(*(_give(connections[number], hashed, record, value) for number in lacking))
    copied.keys += 1
    copied.bytes += len(value) * len(lacking)


def _tell(count: int, what: str, hashed: bytes, version: int) -> None:
    """In the log, for the first ones of each run."""
    if count <= _MOST_TOLD:
        log.error(what, extra={"key_hash": hashed.decode(), "version": version})


async def _give(connection: NodeConnection, hashed: bytes, record: Record, value: bytes) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    kept: Seen = await connection.store(record.key, hashed, record.flags, record.version, value, deadline)
    if kept.age < record.version:
        raise ProxyRefused("it does not keep what it is given")


async def _record(hashed: bytes, holders: Sequence[NodeConnection]) -> Record | None:
    """The record of a key from the first that can give it; None if none can."""
    error: ProxyError | None = None
    for connection in holders:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        try:
            record: Record | None = await connection.record(hashed, deadline)
            if record is None:
                continue
            if record.value is not None:
                return record
            # The node keeps it compressed, and decompresses for a get. It may have changed by then.
            found, seen = await asyncio.gather(
                connection.fetch(record.key, deadline), connection.look(hashed, deadline)
            )
            if found is not None and (fits(found.flags, seen.version) or seen.version == record.version):
                return Record(record.key, found.flags, seen.version, bytes(found.content))
        except ProxyRefused as refusal:
            error = refusal
    if error is not None:
        log.warning("a node cannot read a value", extra={"key_hash": hashed.decode(), "reason": str(error)})
    return None
