"""A server as a place: the files whose paths begin with a prefix."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import pairwise

from sfss.client import Client, Listed, ServerUnreachable, UnexpectedAnswer
from sfss.errors import InvalidRequest, NoStoreAvailable, NotFound, Overloaded, SfssError
from sfss.models import etag_of
from sfss.sync.places import ETAG, MD5, Complain, Item, digest_of
from sfss.sync.remote import Remote

#: How many files are read at once for nothing but their MD5.
_READ_AT_ONCE = 32


class Server(Remote):
    """Of *client*, which is open."""

    def __init__(self, client: Client, prefix: str, complain: Complain):
        super().__init__(prefix, complain)
        self._client = client
        self.is_ordered = False
        self.digests_known: Sequence[str] = (ETAG, MD5)

    async def pages(self) -> AsyncIterator[Sequence[Item]]:
        last = ""
        async with aclosing(self._client.list_pages(self._prefix)) as pages:
            async for page in pages:
                self.is_ordered = page.is_ordered
                if page.unnamed:
                    self.is_partly_hidden = True
                    self._complain(
                        self._prefix or ".", f"{page.unnamed} files have no paths that the store knows"
                    )
                items = [item for file in page.files if (item := self._item(file))]
                if page.is_ordered and items:
                    paths = [last, *(item.path for item in items)]
                    if any(one >= other for one, other in pairwise(paths)):
                        raise UnexpectedAnswer("The listing of the server is not in the order that it says.")
                    last = paths[-1]
                yield items

    def _item(self, file: Listed) -> Item | None:
        if not file.path.startswith(self._prefix):
            raise UnexpectedAnswer(f"The server was asked for {self._prefix!r}, and lists {file.path!r}.")
        path = self._path_of(file.path)
        return None if path is None else Item(path, file.size, file.etag)

    def check_folder(self) -> None:
        """Say that there is nothing in it, if somebody has named it. :raises NotFound:"""
        if self._prefix:
            hint = ""
            if self._prefix.startswith("file/"):
                hint = " (The URL of a folder is http://HOST:PORT/FOLDER here, without /file.)"
            raise NotFound(f"There are no files in {self._prefix}.{hint}")

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item | None]:
        async def look(path: str) -> Item:
            info = await self._client.stat(self._prefix + path)
            return Item(path, info.size, info.etag)

        return await self._found(paths, look)

    async def digests(self, items: Sequence[Item], kind: str) -> Mapping[str, str]:
        if kind == MD5:
            return await self._md5s(items)

        async def look(path: str) -> str:
            return (await self._client.stat(self._prefix + path)).etag

        found = {item.path: item.etag for item in items if item.etag is not None}
        return found | await self._each([item.path for item in items if item.etag is None], look)

    async def _md5s(self, items: Sequence[Item]) -> Mapping[str, str]:
        """They are made of the contents."""
        found: dict[str, str] = {}
        for start in range(0, len(items), _READ_AT_ONCE):
            contents = await self.read(items[start : start + _READ_AT_ONCE])
            found |= {path: digest_of(content, MD5) for path, content in contents.items()}
        return found

    async def read(self, items: Sequence[Item]) -> Mapping[str, bytes]:
        async def look(path: str) -> bytes:
            return await self._client.get(self._prefix + path)

        try:
            came = await self._client.get_many(self._prefix + item.path for item in items)
        except (ServerUnreachable, NoStoreAvailable, Overloaded):
            return await self._each([item.path for item in items], look)  # it may be one of them
        begin = len(self._prefix)
        found = {path[begin:]: content for path, content in came.items()}
        # Nothing in an archive says that a content is whole. What is another one than was listed is looked at again.
        doubtful = [i.path for i in items if i.etag and i.path in found and etag_of(found[i.path]) != i.etag]
        for path in doubtful:
            del found[path]
        return found | await self._each(doubtful, look)

    async def check_names(self) -> None:
        """That files will have the names that they are put by. :raises InvalidRequest:"""
        if await self._client.kind() == "node" and (await self._client.status()).get("names") == "generated":
            raise InvalidRequest(
                "This node gives each file a name of its own, so nothing can be made like it."
            )

    async def check_complete(self) -> None:
        """That what it does not list is not there: a node may not have everything yet. :raises InvalidRequest:"""
        if await self._client.kind() != "node":
            return
        neighbours = (await self._client.status()).get("neighbours")
        for url, said in neighbours.items() if isinstance(neighbours, dict) else ():
            if not said.get("is_this_node") and (said.get("catching_up") or not said.get("caught_up")):
                raise InvalidRequest(
                    f"This node has not been compared with {url} since its start: it may lack files, and --delete "
                    "would delete them in the target. Wait for that, or leave --delete away."
                )

    async def write(self, files: Mapping[str, bytes]) -> Mapping[str, str]:
        outcomes = await self._client.put_many(
            {self._prefix + path: content for path, content in files.items()}
        )
        return self._told(outcomes)

    async def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        return self._told(await self._client.delete_many(self._prefix + path for path in paths))

    def _told(self, outcomes: Mapping[str, object]) -> Mapping[str, str]:
        """What is wrong with those that have failed."""
        begin = len(self._prefix)
        return {path[begin:]: str(what) for path, what in outcomes.items() if isinstance(what, SfssError)}

    async def finish(self) -> None:
        """A server has on disk what it says that it has."""
