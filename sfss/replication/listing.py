"""Which files a node has, in the order of their paths."""

import logging
import sqlite3
from pathlib import Path

from sfss.disk.reader import Reader
from sfss.errors import StoreRefused
from sfss.replication.clock import Version
from sfss.replication.entries import connect
from sfss.stores.base import Listed, Listing
from sfss.stores.listing import in_order, in_pieces

log = logging.getLogger("sfss.node")

#: By the index that is made for it (``catalog.py``).
_LIST = (
    "SELECT path, size, etag, stamp, node, sha256 FROM files INDEXED BY paths"
    " WHERE sha256 IS NOT NULL AND path >= ? ORDER BY path LIMIT ?"
)


class Lister:
    """Reads the catalog in *file*. *timeout*: seconds for a listing."""

    def __init__(self, file: Path, timeout: float):
        self._reader = Reader(lambda: _connect(file), timeout)

    async def list_files(self, prefix: str, cursor: str, limit: int, delimiter: str) -> Listing:
        """See :meth:`sfss.stores.base.Lists.list_files`."""

        def read(database: sqlite3.Connection) -> Listing:
            walk = in_pieces(lambda *begin: [_listed(*row) for row in database.execute(_LIST, begin)])
            return in_order(walk, prefix, cursor, limit, delimiter)

        try:
            return await self._reader.read(read)
        except sqlite3.Error as error:
            log.error("the catalog cannot be read", extra={"reason": str(error)})
            raise StoreRefused(f"The node could not read its catalog: {error}.") from error

    async def close(self) -> None:
        await self._reader.close()


def _connect(file: Path) -> sqlite3.Connection:
    database = connect(file)
    database.execute("PRAGMA query_only = ON")
    return database


def _listed(path: str, size: int, etag: str, stamp: int, node: str, sha256: str) -> Listed:
    return Listed(path, size, etag, Version(stamp, node).time if stamp else None, sha256)
