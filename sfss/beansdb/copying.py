"""Copying single keys from node to node, each with its own version."""

import asyncio
import logging
from collections.abc import Sequence

from sfss.beansdb.connection import NodeConnection, Record
from sfss.beansdb.versions import PURGE_WRITER, Seen, fits, is_tombstone, label, unit_of, version_of
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


class Copier:
    """Gives nodes what they lack, over *connections*.

    *horizon*: tombstones up to this unit are not given to who has nothing (:mod:`sfss.beansdb.purge`). *old*: which of
    the connections are to disks that may still have what such tombstones have deleted.
    """

    def __init__(
        self,
        connections: Sequence[NodeConnection],
        copied: Copied,
        horizon: int = 0,
        old: Sequence[bool] = (),
    ):
        self.connections = connections
        self.copied = copied
        self._horizon = horizon
        self._old = old or [False] * len(connections)

    async def make_equal(self, hashed: bytes, seen: Sequence[Seen]) -> None:
        """Give all the newest version of a key; *seen*: what each has.

        :raises ProxyError: when one of them cannot be given it.
        """
        copied = self.copied
        newest = max(each.age for each in seen)
        holders = [number for number, each in enumerate(seen) if each.age == newest]
        lacking = [number for number, each in enumerate(seen) if each.age < newest]
        if len({seen[number] for number in holders if seen[number].version > 0}) > 1:
            copied.conflicts += 1
            _tell(copied.conflicts, "one version has two values", hashed, newest)
        if not lacking:
            return
        if self._was_purged(newest, seen):
            await self._bury(hashed, [number for number in holders if seen[number].version > 0])
            return
        record: Record | None
        if any(seen[number].version < 0 for number in holders):
            # A native tombstone: ours says the same, and can be set with a version.
            lacking = [number for number in lacking if seen[number].version > 0]
            if not lacking:
                return
            record = await self._record(hashed, lacking)
            if record is not None:
                record = Record(record.key, label(newest, True), newest, b"")
        else:
            record = await self._record(hashed, holders)
        if record is None or record.value is None:
            self._tell_unreadable(hashed, newest)
            return
        if record.version <= 0:
            return  # it was deleted natively meanwhile, by somebody who is out of bounds
        if self._may_be_missing(record):
            lacking = [number for number in lacking if seen[number].version > 0]
        if not lacking:
            return
        value = record.value
        await asyncio.gather(*(self._give(number, hashed, record, value) for number in lacking))
        copied.keys += 1
        copied.bytes += len(value) * len(lacking)

    async def differs(self, hashed: bytes, seen: Sequence[Seen]) -> bool:
        """Whether some do not have what they should. (Not all have the same.)"""
        newest = max(each.age for each in seen)
        if not self._is_behind(newest) or any(0 < each.version < newest for each in seen):
            return True
        holders = [number for number, each in enumerate(seen) if each.version == newest]
        record = await self._record(hashed, holders)
        return record is None or not self._may_be_missing(record)

    def _may_be_missing(self, record: Record) -> bool:
        return is_tombstone(record.flags, record.version) and self._is_behind(record.version)

    def _is_behind(self, version: int) -> bool:
        return 0 < self._horizon >= unit_of(version)

    # What was purged, and is on an old disk.

    def _was_purged(self, newest: int, seen: Sequence[Seen]) -> bool:
        if not self._is_behind(newest) or not any(self._old):
            return False
        return all(is_old or each == Seen(0, 0) for is_old, each in zip(self._old, seen))

    async def _bury(self, hashed: bytes, holders: Sequence[int]) -> None:
        """Put a tombstone of the purge over it, which is older than all that is written now. (A native delete would
        take what is written at this moment, too.)
        """
        version = version_of(self._horizon, PURGE_WRITER)
        for number in holders:
            record = await self._record(hashed, [number])
            if record is None:
                self._tell_unreadable(hashed, version)
            else:
                tombstone = Record(record.key, label(version, True), version, b"")
                await self._give(number, hashed, tombstone, b"")

    # Steps.

    def _tell_unreadable(self, hashed: bytes, version: int) -> None:
        self.copied.unreadable += 1
        _tell(self.copied.unreadable, "no node can give a value", hashed, version)

    async def _give(self, number: int, hashed: bytes, record: Record, value: bytes) -> None:
        connection = self.connections[number]
        deadline = asyncio.get_running_loop().time() + PATIENCE
        kept: Seen = await connection.store(record.key, hashed, record.flags, record.version, value, deadline)
        if kept.age < record.version:
            raise ProxyRefused("it does not keep what it is given")

    async def _record(self, hashed: bytes, numbers: Sequence[int]) -> Record | None:
        """The record of a key from the first of these connections that can give it; None if none can."""
        error: ProxyError | None = None
        for connection in (self.connections[number] for number in numbers):
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
            log.warning(
                "a node cannot read a value", extra={"key_hash": hashed.decode(), "reason": str(error)}
            )
        return None


def _tell(count: int, what: str, hashed: bytes, version: int) -> None:
    """In the log, for the first ones of each run."""
    if count <= _MOST_TOLD:
        log.error(what, extra={"key_hash": hashed.decode(), "version": version})
