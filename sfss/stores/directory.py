"""A store in a plain folder: each file at its own path, for everybody to read.

A write is on disk when it is acknowledged: the content is synced, renamed into its place, and the
folders are synced. That is one wait for the disk a file; the embedded store and the nodes share
theirs among many. Several processes may use the folder at the same time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sfss.completion import Completion
from sfss.disk.errors import refusal
from sfss.disk.folder import Folder
from sfss.disk.folder_reading import Found
from sfss.disk.usage import disk_families
from sfss.errors import NoStoreAvailable, NotFound, Overloaded, SfssError
from sfss.metrics.families import Family, counter
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.paths import is_valid_path
from sfss.stores.base import EVENTS, Listed, Listing, Stats, Store
from sfss.stores.listing import Position, in_order

log = logging.getLogger("sfss.store")

_THREADS = 16


class DirectoryStore(Store):
    """Files in the folder *root*, which is made if it is not there.

    *max_file_size*: larger ones, that others have put there, are not read. *request_timeout*: seconds
    that the disk has for one call.
    """

    _folder: Folder

    def __init__(self, root: Path, *, max_file_size: int, request_timeout: float):
        self._max_file_size = max_file_size
        # Writes may have to wait for other processes, and reads shall not wait for them.
        self._readers = ThreadPoolExecutor(_THREADS, "directory-reader")
        self._writers = ThreadPoolExecutor(_THREADS, "directory-writer")
        self._root = Path(root).absolute()
        self._address = f"directory:{self._root}"
        self.description = f"directory {self._root}"
        self._timeout = request_timeout
        self._is_open = False
        self._counts = {"cmd_get": 0, "get_hits": 0, "cmd_set": 0, "cmd_delete": 0}

    def prepare(self) -> None:
        """:raises StoreUnusable: if the folder cannot be written, or belongs to a node."""
        Folder(self._root).close()

    async def start(self) -> None:
        """Raises as :meth:`prepare` does."""
        self._folder = Folder(self._root)
        self._is_open = True

    async def get(self, path: str) -> StoredFile:
        self._counts["cmd_get"] += 1
        found = await self._in_thread(self._readers, self._read, path)
        if found is None:
            raise NotFound.of(path)
        self._counts["get_hits"] += 1
        return _file(found)

    def begin_get(self, path: str, completion: Completion) -> bool:
        try:
            found = self._folder.read_at_once(path, limit=self._max_file_size)
        except BlockingIOError:
            return False
        except OSError as error:
            completion.set_exception(self._refused(error, "read"))
            return True
        self._counts["cmd_get"] += 1
        if found is not None:
            self._counts["get_hits"] += 1
        completion.set_result(found if found is None else _file(found))
        return True

    def begin_stat(self, path: str, completion: Completion) -> bool:
        return False  # the ETag is of the content, and nobody else keeps it

    def begin_put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None, completion: Completion
    ) -> bool:
        return False  # a thread does it, and has to be waited for

    def begin_delete(self, path: str, precondition: Precondition | None, completion: Completion) -> bool:
        return False

    async def stat(self, path: str) -> FileInfo:
        return (await self.get(path)).info

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        self._counts["cmd_set"] += 1
        await self._in_thread(self._writers, self._put, path, content, precondition)
        return FileInfo(len(content), etag_of(content))

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        self._counts["cmd_delete"] += 1
        if not await self._in_thread(self._writers, self._delete, path, precondition):
            raise NotFound.of(path)

    is_ordered = True

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        def read() -> Listing:
            return in_order(self._walk, prefix, cursor, limit, delimiter)

        listing: Listing = await self._in_thread(self._readers, read)
        return listing

    def _walk(self, position: Position) -> Iterator[Listed]:
        for path in self._folder.walk_from(lambda: position.start):
            if not is_valid_path(path):
                continue  # something else has put it there
            found = self._folder.stat(path)
            if found is not None:  # else it has just gone
                yield Listed(path, found.st_size, modified=found.st_mtime)

    async def stats(self) -> Stats:
        figures = self._events() | {"free_bytes": self._folder.free_bytes()}
        return {self._address: {name: str(value) for name, value in figures.items()}}

    def families(self) -> list[Family]:
        events = counter(EVENTS, "What the directory store has done", "store", "event")
        for name, number in self._events().items():
            events.add((self._address, name), number)
        return [events, *disk_families({"store": self._root})]

    async def ready(self) -> None:
        try:
            self._folder.check()
            self._folder.free_bytes()
        except OSError as error:
            raise self._refused(error, "read") from error

    async def close(self) -> None:
        for threads in (self._readers, self._writers):
            await asyncio.to_thread(threads.shutdown)
        if self._is_open:
            self._folder.close()

    # In a thread.

    def _read(self, path: str) -> Found | None:
        return self._folder.read_with_time(path, limit=self._max_file_size)

    def _put(self, path: str, content: bytes | bytearray, precondition: Precondition | None) -> None:
        folder = self._folder
        folder.check()
        temporary = folder.write_temporary(content, sync=True)
        try:
            with folder.locked():
                self._check(path, precondition)
                folder.place(temporary, path)
        except BaseException:
            folder.discard(temporary)
            raise
        folder.sync_folders(path)

    def _delete(self, path: str, precondition: Precondition | None) -> bool:
        self._folder.check()
        with self._folder.locked():
            self._check(path, precondition)
            found = self._folder.remove(path)
        self._folder.sync_folders(path)
        return found

    def _check(self, path: str, precondition: Precondition | None) -> None:
        if precondition is not None:
            found = self._read(path)
            precondition.check(found if found is None else _file(found).info)

    async def _in_thread(
        self, threads: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """:raises SfssError: for whatever the disk says."""
        try:
            async with asyncio.timeout(self._timeout):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(threads, function, *arguments)
        except TimeoutError:
            raise NoStoreAvailable(
                f"The disk did not answer within {self._timeout:g} s. A write may still happen."
            ) from None
        except OSError as error:
            raise self._refused(error, function.__name__.strip("_")) from error

    def _refused(self, error: OSError, what: str) -> SfssError:
        answer = refusal(error, may_have_happened=what != "read")
        if not isinstance(answer, Overloaded):
            extra = {"store": self._address, "call": what, "reason": str(error)}
            log.error("disk error", extra=extra)
        return answer

    def _events(self) -> dict[str, int]:
        counts = self._counts
        return counts | {"get_misses": counts["cmd_get"] - counts["get_hits"]}


def _file(found: Found) -> StoredFile:
    return StoredFile(found.content, etag_of(found.content), found.modified)
