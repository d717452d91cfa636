"""A folder of this machine as a place."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from sfss.errors import InvalidPath
from sfss.paths import MAX_PATH_BYTES, check_path
from sfss.sync.places import ETAG, LARGEST, MD5, TOO_LARGE, Complain, Item, digest_of

_PAGE = 1000
#: What a file is called while it is written. One that a kill has left is of no interest.
_UNFINISHED = re.compile(r"(?:.*/)?\.sfss-[0-9a-f]{16}", re.DOTALL)


class Folder:
    """The files below *root*. Links to files are files; links to folders are complained of, and passed over."""

    is_ordered = True
    digests_known: Sequence[str] = (ETAG, MD5)

    def __init__(self, root: Path, complain: Complain):
        self._root = str(root)
        self._complain = complain
        self._made: set[str] = set()  # folders that are there
        self._has_written = False
        self.is_partly_hidden = False

    async def pages(self) -> AsyncIterator[Sequence[Item]]:
        files = self._files("")
        while page := await asyncio.to_thread(lambda: list(islice(files, _PAGE))):
            yield page

    def _files(self, begin: str) -> Iterator[Item]:
        """Those whose paths begin with *begin*, a folder, in the order of their paths."""
        if len(begin) > MAX_PATH_BYTES:
            self._complain(begin, "is deeper than any path")
            return
        try:
            with os.scandir(f"{self._root}/{begin}") as entries:
                # With its slash a folder stands where its files do.
                names = [e.name + ("/" if e.is_dir(follow_symlinks=False) else "") for e in entries]
        except FileNotFoundError:
            return  # gone, or not made yet
        except OSError as error:
            self.is_partly_hidden = True
            self._complain(begin or ".", error.strerror or str(error))
            return
        names.sort()
        for name in names:
            if name.endswith("/"):
                yield from self._files(begin + name)
            elif not _UNFINISHED.fullmatch(name) and (item := self._item(begin + name)):
                yield item

    def _item(self, path: str) -> Item | None:
        try:
            check_path(path)
            status = os.stat(f"{self._root}/{path}")
        except (InvalidPath, UnicodeError) as error:
            self._complain(os.fsencode(path).decode("utf-8", "replace"), str(error))
            return None
        except OSError as error:
            self.is_partly_hidden = True
            self._complain(path, error.strerror or str(error))
            return None
        if not S_ISREG(status.st_mode):
            self.is_partly_hidden = True
            is_folder = S_ISDIR(status.st_mode)
            self._complain(path, "is a link to a folder" if is_folder else "is not a regular file")
            return None
        return Item(path, status.st_size)

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item | None]:
        def look() -> dict[str, Item | None]:
            found: dict[str, Item | None] = {}
            for path in paths:
                try:
                    status = os.stat(f"{self._root}/{path}")
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    self._complain(path, error.strerror or str(error))
                    found[path] = None
                else:
                    found[path] = Item(path, status.st_size) if S_ISREG(status.st_mode) else None
            return found

        return await asyncio.to_thread(look)

    async def digests(self, items: Sequence[Item], kind: str) -> Mapping[str, str]:
        def look() -> dict[str, str]:
            contents = ((item.path, self._content(item.path)) for item in items)
            return {path: digest_of(content, kind) for path, content in contents if content is not None}

        return await asyncio.to_thread(look)

    async def read(self, items: Sequence[Item]) -> Mapping[str, bytes]:
        def look() -> dict[str, bytes]:
            contents = ((item.path, self._content(item.path)) for item in items)
            return {path: content for path, content in contents if content is not None}

        return await asyncio.to_thread(look)

    def _content(self, path: str) -> bytes | None:
        try:
            descriptor = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(path, error.strerror or str(error))
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size > LARGEST:
                self._complain(path, TOO_LARGE)
                return None
            content = os.read(descriptor, size + 1)
            while len(content) < size and (more := os.read(descriptor, size + 1 - len(content))):
                content += more
            return content
        except OSError as error:
            self._complain(path, error.strerror or str(error))
            return None
        finally:
            os.close(descriptor)

    async def write(self, files: Mapping[str, bytes]) -> Mapping[str, str]:
        def work() -> dict[str, str]:
            failures = {}
            for path, content in files.items():
                try:
                    try:
                        self._write(check_path(path), content)
                    except FileNotFoundError:  # a delete has just taken the folder, which was empty
                        self._made.clear()
                        self._write(path, content)
                except InvalidPath as error:
                    failures[path] = str(error)
                except OSError as error:
                    failures[path] = error.strerror or str(error)
            return failures

        self._has_written = True
        return await asyncio.to_thread(work)

    def _write(self, path: str, content: bytes) -> None:
        """So that it is whole, or as it was."""
        folder = self._folder_for(path)
        beside = f"{folder}/.sfss-{secrets.token_hex(8)}"
        try:
            with open(beside, "xb") as stream:
                stream.write(content)
            os.replace(beside, f"{self._root}/{path}")
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def _folder_for(self, path: str) -> str:
        """The folder that *path* is to be in; it is there. :raises OSError: if a link leads out of it."""
        folder = os.path.dirname(f"{self._root}/{path}")
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._check_way(folder)
            if len(self._made) > _PAGE:
                self._made.clear()
            self._made.add(folder)
        return folder

    def _check_way(self, folder: str) -> None:
        """:raises OSError: if a link is on the way from the root to *folder*: what is behind it is not ours."""
        way = os.path.relpath(folder, self._root)
        if os.path.realpath(folder) != os.path.normpath(f"{os.path.realpath(self._root)}/{way}"):
            raise OSError("a folder on the way to it is a link")

    async def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        def work() -> dict[str, str]:
            failures = {}
            for path in paths:
                try:
                    self._check_way(os.path.dirname(f"{self._root}/{path}"))
                    os.unlink(f"{self._root}/{path}")
                except FileNotFoundError:
                    continue
                except OSError as error:
                    failures[path] = error.strerror or str(error)
                else:
                    self._remove_empty(path)
            return failures

        self._made.clear()
        return await asyncio.to_thread(work)

    def _remove_empty(self, path: str) -> None:
        """The folders that *path* was the last file of."""
        parent = path.rpartition("/")[0]
        while parent:
            try:
                os.rmdir(f"{self._root}/{parent}")
            except OSError:
                return  # there is something in it
            parent = parent.rpartition("/")[0]

    async def finish(self) -> None:
        if self._has_written:
            await asyncio.to_thread(os.sync)  # once for all of them
