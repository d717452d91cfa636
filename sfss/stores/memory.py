"""A store in memory: the reference that the contract is written against, and for tests."""

from collections.abc import Iterator

from sfss.errors import NotFound
from sfss.models import FileInfo, Precondition, StoredFile, etag_of
from sfss.stores.base import Listed, Listing, Stats, Store
from sfss.stores.listing import Position, in_order


class MemoryStore(Store):
    description = "memory (nothing is kept)"

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    async def get(self, path: str) -> StoredFile:
        try:
            return self._files[path]
        except KeyError:
            raise NotFound.of(path) from None

    async def put(
        self, path: str, content: bytes | bytearray, precondition: Precondition | None = None
    ) -> FileInfo:
        self._check(path, precondition)
        self._files[path] = file = StoredFile(bytes(content), etag_of(content))
        return file.info

    async def delete(self, path: str, precondition: Precondition | None = None) -> None:
        self._check(path, precondition)
        await self.get(path)
        del self._files[path]

    async def stat(self, path: str) -> FileInfo:
        return (await self.get(path)).info

    is_ordered = True

    async def list_files(
        self, prefix: str = "", cursor: str = "", limit: int = 1000, delimiter: str = ""
    ) -> Listing:
        def walk(position: Position) -> Iterator[Listed]:
            for path, file in sorted(self._files.items()):
                if path >= position.start:
                    yield Listed(path, len(file.content), file.etag)

        return in_order(walk, prefix, cursor, limit, delimiter)

    async def stats(self) -> Stats:
        size = sum(len(file.content) for file in self._files.values())
        return {"memory": {"curr_items": str(len(self._files)), "bytes": str(size)}}

    async def ready(self) -> None:
        """It always is."""

    async def close(self) -> None:
        self._files.clear()

    def _check(self, path: str, precondition: Precondition | None) -> None:
        if precondition is not None:
            file = self._files.get(path)
            precondition.check(file and file.info)
