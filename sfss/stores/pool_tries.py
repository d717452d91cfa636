"""What one request over the pool has tried, and whether a write may be tried again."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sfss.completion import is_waited_for
from sfss.errors import NoStoreAvailable, SfssError
from sfss.memcache.endpoint import Endpoint
from sfss.memcache.errors import DeadlinePassed, ProxyError, ProxyRefused, refused_because

#: How often one request tries one proxy in a row: a lost connection says more about the connection
#: than about the proxy.
MOST_TRIES = 2


class Superseded(Exception):
    """A write is not to be tried again."""


class Tries:
    """What one request has tried."""

    def __init__(self) -> None:
        self.failed: list[Endpoint] = []  # a proxy stands here as often as it has been tried
        self.refusals: list[ProxyRefused] = []
        self.failed_once = False
        self.out_of_time = False
        self.superseded = False  # by a newer write, or nobody waits for it
        self._pause = 0.01

    def note(self, proxy: Endpoint, error: ProxyError) -> None:
        self.failed_once = True
        self.failed.append(proxy)
        if isinstance(error, ProxyRefused):
            self.refusals.append(error)
            self.failed.append(proxy)  # it would say the same again
        elif isinstance(error, DeadlinePassed):
            self.out_of_time = True
        elif self.failed.count(proxy) >= MOST_TRIES:
            proxy.suspicion(error)  # it takes connections, and drops them

    def next_pause(self) -> float:
        """Seconds before the next round, which grow."""
        self._pause *= 2
        return self._pause * random.uniform(0.5, 1.0)

    def verdict(self) -> SfssError:
        """What to tell the client when no proxy did it."""
        if self.refusals:
            return refused_because(self.refusals)
        if self.superseded:
            return NoStoreAvailable(
                "The storage proxy failed, and a newer write of this file has begun: this one was not tried"
                " again. It may have happened all the same."
            )
        return NoStoreAvailable(
            "None of the storage proxies could be reached in time. Try again later; a write "
            "may have happened all the same."
        )


class Writes:
    """The writes that are under way, by key: which one of each has begun last."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, list[Write]] = {}

    def begin(self, key: bytes, is_waited_for: Callable[[], bool]) -> "Write":
        write = Write(self._under_way, key, is_waited_for)
        self._under_way.setdefault(key, []).append(write)
        return write

    @contextmanager
    def of(self, key: bytes) -> Iterator["Write"]:
        write = self.begin(key, is_waited_for.get())
        try:
            yield write
        finally:
            write.end()


class Write:
    __slots__ = ("_is_waited_for", "_key", "_others", "_superseded")

    def __init__(self, under_way: "dict[bytes, list[Write]]", key: bytes, is_waited_for: Callable[[], bool]):
        self._is_waited_for = is_waited_for
        self._others = under_way
        self._key = key
        self._superseded = False
        for older in under_way.get(key, ()):
            older._superseded = True

    def may_try_again(self) -> bool:
        """Whether somebody waits for it, and no other write of this key has begun since."""
        return not self._superseded and self._is_waited_for()

    def end(self) -> None:
        writes = self._others.get(self._key)
        if writes is not None and self in writes:
            writes.remove(self)
            if not writes:
                del self._others[self._key]
