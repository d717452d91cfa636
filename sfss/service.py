"""The rules between HTTP and a store: which paths, how large, what type, how many at once.

Whoever speaks for a client (HTTP now) comes through here; nobody but this module calls a
store. (But a node's puts have more to say: ``web/nodes.py``.)
"""

import mimetypes
from collections.abc import Iterable
from functools import lru_cache

from sfss.admission import Admission
from sfss.errors import FileTooLarge
from sfss.figures import Family
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.panel import Event
from sfss.paths import check_path, is_valid_path
from sfss.receivers import Receiver, WriteReceiver
from sfss.stores.base import EVENTS, AnswersAtOnce, HasNodes, Stats, Store


__all__ = ["EVENTS", "FileService", "Stats", "content_type_of"]


class FileService:
    """Files of at most *max_file_size* bytes in *store*, as many at once as *admission* allows."""

    def __init__(self, store: Store, *, max_file_size: int, admission: Admission | None = None):
        self.max_file_size = max_file_size
        self.admission = admission or Admission(limit=2**62, wait=0.0)
        self._store = store
        self._at_once = isinstance(store, AnswersAtOnce)

    async def get(self, path: str) -> StoredFile:
        """:raises InvalidPath, NotFound, NoStoreAvailable, StoreRefused, Overloaded:"""
        check_path(path)
        taken = self.admission.typical
        async with self.admission.room(taken):
            file = await self._store.get(path)
            if more := self.admission.excess(len(file.content), taken):
                async with self.admission.room(more):
                    return file
        return file

    def begin_get(self, path: str, receiver: Receiver) -> bool:
        """Begin a get without a coroutine (see :class:`AnswersAtOnce`).

        False: not now, or not with this store, or not with this path; :meth:`get` tells.
        """
        return self._at_once and is_valid_path(path) and self._store.begin_get(path, receiver)

    def begin_put(self, path: str, content: bytes, receiver: WriteReceiver) -> bool:
        """Begin a put without a coroutine; False as for :meth:`begin_get`."""
        return (
            self._at_once
            and is_valid_path(path)
            and len(content) <= self.max_file_size
            and self._store.begin_put(path, content, receiver)
        )

    async def stat(self, path: str) -> FileInfo:
        """Raises as :meth:`get` does."""
        check_path(path)
        async with self.admission.room(self.admission.typical):
            return await self._store.stat(path)

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        """Keep *content* under *path*, whatever was there.

        :raises InvalidPath, FileTooLarge, PreconditionFailed: and nothing has changed.
        :raises NoStoreAvailable, StoreRefused: and it may have happened all the same.
        """
        check_path(path)
        self.check_size(len(content))
        return await self._store.put(path, content, precondition)

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        """:raises InvalidPath, NotFound, PreconditionFailed, NoStoreAvailable, StoreRefused:"""
        await self._store.delete(check_path(path), precondition)

    async def ready(self) -> None:
        """Return if a store can serve now. :raises NoStoreAvailable, StoreRefused: if not."""
        await self._store.ready()

    def families(self) -> Iterable[Family]:
        """What has been counted of the store and of the admission."""
        return [*self._store.families(), *self.admission.families()]

    def history(self) -> Iterable[Event]:
        return self._store.history()

    async def stats(self) -> Stats:
        """The store's figures by address. :raises NoStoreAvailable:"""
        return await self._store.stats()

    async def node_stats(self) -> Stats:
        """The figures of what keeps the files: the nodes, or the store that is its own node."""
        if isinstance(self._store, HasNodes):
            return await self._store.node_stats()
        return await self._store.stats()

    def check_size(self, size: int) -> None:
        """:raises FileTooLarge: if a file may not have so many bytes."""
        if size > self.max_file_size:
            raise FileTooLarge.over(self.max_file_size)


# Not the machine's own tables (/etc/mime.types), and what Python's releases disagree on is said
# here: the same name has the same type everywhere.
_TYPES = mimetypes.MimeTypes()
for _type, _extension in (
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("image/avif", ".avif"),
    ("image/webp", ".webp"),
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("text/markdown", ".md"),
):
    _TYPES.add_type(_type, _extension)

_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/x-brotli",
    "compress": "application/x-compress",
}


def content_type_of(path: str) -> str:
    """The media type that the extension of *path* tells; application/octet-stream if none.

    A compressed file is what it is: we send no Content-Encoding, so ``a.tar.gz`` is
    application/gzip and not a tar archive.
    """
    name = path.rpartition("/")[2].lstrip(".")
    return _type_of_extension(".".join(name.split(".")[1:][-2:]))


@lru_cache(maxsize=4096)
def _type_of_extension(extension: str) -> str:
    """Of ``png``, or ``tar.gz``: never of a whole name, which guess_type could take for a URL."""
    guessed, encoding = _TYPES.guess_type(f"file.{extension}")
    if encoding is not None:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    return guessed or "application/octet-stream"
