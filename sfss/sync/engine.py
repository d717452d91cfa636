"""Compares two places, and copies what differs.

Where both have an order, they are walked side by side; else each file of the source is looked up in the target. Nothing
is remembered of what was done: begun again, it goes on with what still differs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from sfss.errors import InvalidRequest
from sfss.sync.places import Complain, Item, Place

Pair = tuple[Item | None, Item | None]  #: of the source, and of the target; one of them at least

#: What travels together: at least so many bytes, or so many files.
_GROUP_BYTES, _GROUP_FILES = 1024 * 1024, 256
#: What is counted for a file whose size is not known. Bytes.
_UNKNOWN = 128 * 1024
#: What is looked up together.
_LOOKED_UP = 256


class Tally:
    """What has happened to how many files."""

    def __init__(self) -> None:
        self.sent = self.same = self.deleted = self.bytes = 0


class Sync:
    """Makes *target* like *source*. *complain*: takes each failure. *say*: takes what a dry run would do, the word and
    the path, in place of doing it.
    """

    def __init__(
        self,
        source: Place,
        target: Place,
        *,
        delete: bool,
        parallel: int,
        complain: Complain,
        say: Callable[[str, str], None] | None = None,
    ):
        self.tally = Tally()
        self._source = source
        self._target = target
        self._delete = delete
        self._parallel = parallel
        self._complain = complain
        self._say = say
        self._kind = next(kind for kind in source.digests_known if kind in target.digests_known)
        self._group: list[Item] = []
        self._size = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """:raises SfssError: if one of them cannot go on; the tally tells how far it came."""
        try:
            async for pairs in self._pairs():
                await self._take(pairs)
            await self._send()
            if self._under_way:
                await asyncio.gather(*self._under_way)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._target.finish()

    # What there is.

    async def _pairs(self) -> AsyncIterator[Sequence[Pair]]:
        sources, targets = self._source.pages(), self._target.pages()
        first, other = await asyncio.gather(anext(sources, None), anext(targets, None))
        while first is not None and not first:
            first = await anext(sources, None)
        if first is None and other and self._delete:
            raise InvalidRequest(
                "There is nothing in the source, and --delete would take everything from the target: is it the right "
                "one? If that is meant, delete the target itself."
            )
        if self._source.is_ordered and self._target.is_ordered:
            async for pairs in side_by_side(first, sources, other, targets):
                yield pairs
            return
        while first is not None:
            for start in range(0, len(first), _LOOKED_UP):
                some = first[start : start + _LOOKED_UP]
                found = await self._target.find([item.path for item in some])
                yield [(item, found.get(item.path)) for item in some]
            first = await anext(sources, None)
        while self._delete and other is not None:
            found = await self._source.find([item.path for item in other])
            yield [(None, item) for item in other if item.path not in found]
            other = await anext(targets, None)

    # What is to be done.

    async def _take(self, pairs: Sequence[Pair]) -> None:
        gone = [target.path for source, target in pairs if source is None and target is not None]
        if gone and self._delete:
            await self._remove(gone)
        both = [(source, target) for source, target in pairs if source is not None and target is not None]
        different = {source.path for source, target in both if not _may_be_same(source, target)}
        different |= await self._differing([pair for pair in both if pair[0].path not in different])
        for source, target in pairs:
            if source is not None and (target is None or source.path in different):
                await self._add(source)

    async def _differing(self, pairs: Sequence[tuple[Item, Item]]) -> set[str]:
        """The paths of those whose contents are not the same. The others are counted, unless nobody can say."""
        if not pairs:
            return set()
        sources, targets = await asyncio.gather(
            self._source.digests([source for source, _ in pairs], self._kind),
            self._target.digests([target for _, target in pairs], self._kind),
        )
        known = [source.path for source, _ in pairs if source.path in sources]
        different = {path for path in known if sources[path] != targets.get(path)}
        self.tally.same += len(known) - len(different)
        return different

    async def _add(self, item: Item) -> None:
        self._group.append(item)
        self._size += _UNKNOWN if item.size is None else item.size
        if self._size >= _GROUP_BYTES or len(self._group) >= _GROUP_FILES:
            await self._send()

    async def _send(self) -> None:
        """What is in the group; it waits while enough is under way."""
        group, self._group, self._size = self._group, [], 0
        if not group:
            return
        if self._say is not None:
            for item in group:
                self._say("send", item.path)
            self.tally.sent += len(group)
            return
        while len(self._under_way) >= self._parallel:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._settle()
        self._under_way.add(asyncio.create_task(self._copy(group)))

    def _settle(self) -> None:
        """:raises SfssError: if one of those that are done has failed as a whole."""
        for task in [task for task in self._under_way if task.done()]:
            self._under_way.discard(task)
            task.result()

    async def _copy(self, group: Sequence[Item]) -> None:
        contents = await self._source.read(group)
        if lacking := [item.path for item in group if item.path not in contents]:
            for path, item in (await self._source.find(lacking)).items():
                if item is not None:  # so it has not gone meanwhile
                    self._complain(path, "could not be read")
        failures = await self._target.write(contents) if contents else {}
        for path, reason in failures.items():
            self._complain(path, reason)
        kept = contents.keys() - failures.keys()
        self.tally.sent += len(kept)
        self.tally.bytes += sum(len(contents[path]) for path in kept)

    async def _remove(self, paths: Sequence[str]) -> None:
        if self._source.is_partly_hidden:
            for path in paths:
                self._complain(path, "was not deleted: not all of the source could be read")
            return
        if self._say is not None:
            for path in paths:
                self._say("delete", path)
            self.tally.deleted += len(paths)
            return
        failures = await self._target.delete(paths)
        for path, reason in failures.items():
            self._complain(path, reason)
        self.tally.deleted += len(paths) - len(failures)


def _may_be_same(source: Item, target: Item) -> bool:
    return None in (source.size, target.size) or source.size == target.size


async def side_by_side(
    left: Sequence[Item] | None,
    lefts: AsyncIterator[Sequence[Item]],
    right: Sequence[Item] | None,
    rights: AsyncIterator[Sequence[Item]],
) -> AsyncIterator[Sequence[Pair]]:
    """All of two walks in the order of paths, what has the same path together. *left*, *right*: their first pages."""
    i = j = 0
    while left is not None or right is not None:
        pairs: list[Pair] = []
        if left is not None and right is not None:
            while i < len(left) and j < len(right):
                a, b = left[i], right[j]
                if a.path == b.path:
                    pairs.append((a, b))
                    i, j = i + 1, j + 1
                elif a.path < b.path:
                    pairs.append((a, None))
                    i += 1
                else:
                    pairs.append((None, b))
                    j += 1
        elif left is not None:
            pairs += [(item, None) for item in left[i:]]
            i = len(left)
        elif right is not None:
            pairs += [(None, item) for item in right[j:]]
            j = len(right)
        if pairs:
            yield pairs
        if left is not None and i == len(left):
            left, i = await anext(lefts, None), 0
        if right is not None and j == len(right):
            right, j = await anext(rights, None), 0
