"""Writes that wait until enough nodes have them on disk."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sfss.replication.clock import Version


class Quorum:
    """A write that waits until *needed* other nodes have said that they have it."""

    def __init__(self, needed: int):
        self._needed = needed
        self._version: Version | None = None  # not known yet
        self._reached = asyncio.Event()
        self._have: dict[str, Version] = {}  # by the id of the node

    @property
    def nodes(self) -> int:
        """How many have it."""
        if self._version is None:
            return 0
        return sum(version >= self._version for version in self._have.values())

    def has(self, node: str, version: Version) -> None:
        self._have[node] = max(version, self._have.get(node, version))
        self._look()

    async def reached(self, version: Version) -> None:
        """Wait for it. *version*: that of the write, or a newer one will do."""
        self._version = version
        self._look()
        await self._reached.wait()

    def _look(self) -> None:
        if self.nodes >= self._needed:
            self._reached.set()


class Quorums:
    """All writes that wait, by their paths."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Quorum]] = {}

    @contextmanager
    def of(self, path: str, needed: int) -> Iterator[Quorum]:
        """Listen, from before *path* is written, for *needed* other nodes."""
        quorum = Quorum(needed)
        self._waiting.setdefault(path, []).append(quorum)
        try:
            yield quorum
        finally:
            self._waiting[path].remove(quorum)
            if not self._waiting[path]:
                del self._waiting[path]

    def has(self, node: str, changes: Iterable[tuple[str, Version]]) -> None:
        """The node of this id has these versions, as it says."""
        if self._waiting:
            for path, version in changes:
                for quorum in self._waiting.get(path, ()):
                    quorum.has(node, version)
