"""Operations over the pool that are begun by a call: each receives what its proxy gives, without a task."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sfss.completion import Completion
from sfss.errors import NotFound, SfssError
from sfss.memcache.connection import Connection
from sfss.memcache.endpoint import Endpoint
from sfss.memcache.errors import ProxyDown, ProxyError
from sfss.models import FileInfo, StoredFile, etag_of
from sfss.stores.pool_tries import Write

if TYPE_CHECKING:
    from sfss.stores.pool import ProxyStore

#: Does one thing on a connection: called with it, and with ``deadline`` and ``completion`` as the
#: operations of :class:`Connection` have them.
Operation = Callable[..., Any]


class Begun:
    """A request whose first try is under way without a task; it receives what the proxy gives."""

    __slots__ = (
        "asked",
        "completion",
        "connection",
        "deadline",
        "done",
        "failures",
        "key",
        "proxy",
        "store",
    )

    def __init__(
        self,
        store: "ProxyStore",
        proxy: Endpoint,
        connection: Connection,
        key: bytes,
        completion: Completion,
    ):
        self.store = store
        self.proxy = proxy
        self.connection = connection
        self.key = key
        self.deadline = store.loop.time() + store.request_timeout
        self.completion = completion
        self.done = completion.done
        self.asked = 1  # proxies
        self.failures: tuple[tuple[Endpoint, ProxyError], ...] = ()

    @property
    def operation(self) -> Operation:
        """The same once more, for other tries."""
        raise NotImplementedError

    def translate(self, result: Any) -> object:
        """What the receiver wants to have, from what a connection gives."""
        raise NotImplementedError

    def may_try_again(self) -> bool:
        return True

    def ended(self) -> None:
        """It has its answer, or nobody wants one any more."""

    def set_result(self, result: Any) -> None:
        self.ended()
        try:
            outcome = self.translate(result)
        except SfssError as error:
            self.completion.set_exception(error)
        else:
            self.completion.set_result(outcome)

    def set_exception(self, error: Exception) -> None:
        assert isinstance(error, ProxyError)
        self.failed(self.proxy, error)

    def failed(self, proxy: Endpoint, error: ProxyError) -> None:
        proxy.endpoint_stats.failed(error)
        self.failures += ((proxy, error),)
        if len(self.failures) == self.asked:
            self.store.hedges.failed += self.asked > 1
            self.store.try_again(self)


class BegunWrite(Begun):
    __slots__ = ("write",)

    write: Write

    def may_try_again(self) -> bool:
        return self.write.may_try_again()

    def ended(self) -> None:
        self.write.end()


class BegunDelete(BegunWrite):
    __slots__ = ("path",)

    path: str

    @property
    def operation(self) -> Operation:
        return partial(Connection.delete, key=self.key)

    def translate(self, result: bool) -> None:
        # One that is tried again and finds nothing has succeeded: the first try did it.
        if not result and not self.failures:
            raise NotFound.of(self.path)


class BegunPut(BegunWrite):
    __slots__ = ("value",)

    value: bytes | bytearray

    @property
    def operation(self) -> Operation:
        return partial(Connection.set, key=self.key, value=self.value)

    def translate(self, result: None) -> FileInfo:
        return FileInfo(len(self.value), etag_of(self.value))


class BegunGet(Begun):
    """May be hedged (:class:`sfss.stores.hedging.Hedgeable`)."""

    __slots__ = ("began", "hedged")

    def __init__(
        self,
        store: "ProxyStore",
        proxy: Endpoint,
        connection: Connection,
        key: bytes,
        completion: Completion,
    ):
        Begun.__init__(self, store, proxy, connection, key, completion)
        self.began = perf_counter()
        self.hedged = False  # or it shall not be

    @property
    def operation(self) -> Operation:
        return partial(Connection.get, key=self.key)

    def translate(self, result: bytearray | None) -> StoredFile | FileInfo | None:
        return file_of(result)

    def set_result(self, result: bytearray | None) -> None:
        if self.asked > 1:
            self.store.hedges.wasted += 1
        super().set_result(result)

    def deny(self) -> None:
        self.hedged = True

    def hedge(self) -> bool:
        if self.failures or (second := self.store.second(self.proxy)) is None:
            return False
        proxy, connection = second
        self.hedged = True
        self.asked = 2
        connection.get(self.key, self.deadline, Hedge(self, proxy))
        return True

    def won_by_the_second(self, result: bytearray | None) -> None:
        self.store.hedges.won += 1
        # If nothing at all came from the first one meanwhile, it is suspect.
        waited = perf_counter() - self.began
        if self.connection.last_reply < self.store.loop.time() - waited:
            self.proxy.suspicion(ProxyDown(f"no reply within {waited:.3f} s"))
        self.completion.set_result(self.translate(result))


class BegunStat(BegunGet):
    """There is no command for this that is safe everywhere."""

    __slots__ = ()

    def translate(self, result: bytearray | None) -> FileInfo | None:
        return None if result is None else FileInfo(len(result), etag_of(result))


class Hedge:
    """Receives what the second proxy gives to a read."""

    __slots__ = ("begun", "done", "proxy")

    def __init__(self, begun: BegunGet, proxy: Endpoint):
        self.begun = begun
        self.proxy = proxy
        self.done = begun.done

    def set_result(self, result: bytearray | None) -> None:
        self.begun.won_by_the_second(result)

    def set_exception(self, error: Exception) -> None:
        assert isinstance(error, ProxyError)
        self.begun.failed(self.proxy, error)


def file_of(content: bytearray | None) -> StoredFile | None:
    return None if content is None else StoredFile(content, etag_of(content))
