"""The interface of a store, and its contract. ``tests/contract.py`` states it as tests.

* A path has passed :func:`sfss.paths.check_path`; a store need not look at it again.
* Content is any bytes, ``b""`` included. What was put is what is got, byte for byte.
* ``put`` and ``delete`` return once the store's own promise of durability holds. One that
  raises :class:`NoStoreAvailable` or :class:`StoreRefused` may have happened all the same.
* *Missing* and *unreachable* are different answers, always.
* Every call ends in bounded time.
* Any number of calls may be under way at once, all from one event loop. A call may be
  cancelled at any moment; that disturbs no other. A write that nobody waits for any more
  (:data:`sfss.completion.is_waited_for`) is not tried again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from sfss.completion import Completion, WriteCompletion
from sfss.metrics.events import StateChange
from sfss.metrics.families import Family
from sfss.models import FileInfo, Precondition, StoredFile

#: What one process counts of a store: by its address and the name that its stats have for it. The
#: stats that the user sees have the sum of all processes.
EVENTS = "sfss_store_events_total"
#: Figures of stores, as memcached's ``stats`` gives them: address to name to value, as text.
Stats = dict[str, dict[str, str]]


class Store(ABC):
    """Anything that keeps files."""

    #: What kind of store this is and where it keeps its data, for the start-up line.
    description: str
    #: Whether a read waits for nothing: what is asked of it is answered in the same step.
    reads_at_once = False

    @abstractmethod
    async def get(self, path: str) -> StoredFile:
        """:raises NotFound, NoStoreAvailable, StoreRefused:"""

    @abstractmethod
    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        """Keep *content*, in place of what was there. The caller leaves it unchanged from then on.

        :raises PreconditionFailed: and nothing has changed.
        :raises FileTooLarge: for this store; nothing has changed.
        :raises StoreFull, StoreRefused, NoStoreAvailable:
        """

    @abstractmethod
    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises NotFound, PreconditionFailed, StoreRefused, NoStoreAvailable:"""

    @abstractmethod
    async def stat(self, path: str) -> FileInfo:
        """What :meth:`get` would give, without the content. Raises as it does."""

    @abstractmethod
    async def stats(self) -> Stats:
        """Figures by address; ``{}`` for an address that does not answer.

        :raises NoStoreAvailable: when none answers.
        """

    @abstractmethod
    async def ready(self) -> None:
        """Return if the store can serve now. :raises NoStoreAvailable, StoreRefused: if not."""

    def families(self) -> Iterable[Family]:
        """What this process has counted, for the metrics."""
        return []

    def history(self) -> Iterable[StateChange]:
        """The last changes of state that this process has seen."""
        return []

    def prepare(self) -> None:
        """What is to be done once, before processes begin to share the store.

        :raises StoreUnusable: when it can never serve like this.
        """

    async def start(self) -> None:
        """Get ready to serve. A store that nobody answers for yet starts all the same.

        :raises StoreUnusable: when it can never serve like this.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was acknowledged and let go of everything. The store is of no use then."""


@runtime_checkable
class AnswersAtOnce(Protocol):
    """A store that can be asked by a call and answers by a call, without a coroutine for each.

    All return True, and *completion* is called once, in bounded time, perhaps even before they
    return; its error is a :class:`SfssError`, as ``get`` or ``put`` would raise it. Or they return
    False: that is not possible at the moment, nothing has begun, and the coroutine is the way.
    """

    def begin_get(self, path: str, completion: Completion) -> bool:
        """The result is the :class:`StoredFile`, or None: there is none."""

    def begin_stat(self, path: str, completion: Completion) -> bool:
        """The result is the :class:`FileInfo`, or None: there is no file."""

    def begin_put(
        self,
        path: str,
        content: bytes | bytearray,
        precondition: Precondition | None,
        completion: WriteCompletion,
    ) -> bool:
        """The result is the :class:`FileInfo`."""

    def begin_delete(self, path: str, precondition: Precondition | None, completion: WriteCompletion) -> bool:
        """The result is None; the error is :class:`NotFound` if there was no file."""


class Listed(NamedTuple):
    """A file in a listing. None: the store does not know that without reading the file."""

    path: str
    size: int | None = None  #: bytes
    etag: str | None = None  #: see :func:`sfss.models.etag_of`
    modified: float | None = None  #: seconds since the epoch
    sha256: str | None = None  #: 64 hex digits


class Listing(NamedTuple):
    files: list[Listed]
    cursor: str | None  #: where the next one begins; None: that was all
    unnamed: int = 0  #: files that are there, and whose paths the store does not have
    folders: Sequence[str] = ()  #: what paths begin with up to a delimiter, which ends each of them


@runtime_checkable
class Lists(Protocol):
    """A store that can say which files it has."""

    #: Whether listings are in the order of the paths (by code point), and a cursor is a path. Otherwise the order is
    #: the store's own, and a cursor means something only to it.
    is_ordered: bool

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        """At most *limit* files whose paths begin with *prefix*, from behind *cursor*; perhaps fewer, or none, though
        more are to come. A file that is there all the while is in exactly one of the listings.

        With a *delimiter*, files that have it behind the *prefix* are not named: the folders are, up to the first one,
        and count as files do. Where there is no order, a folder may be in several listings.

        :raises InvalidRequest: if that is no cursor.
        :raises NoStoreAvailable, StoreRefused:
        """


@runtime_checkable
class HasNodes(Protocol):
    """A store that knows of the nodes behind it."""

    async def node_stats(self) -> Stats:
        """Figures of the nodes by address; ``{}`` for a node that does not answer."""
