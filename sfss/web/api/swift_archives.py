"""Archives whose files become objects, as Swift's bulk middleware does it.

Source: https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.bulk.
The archive is read in a thread, which waits for the body, and for each object to be stored.
"""

import asyncio
import bz2
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from sfss.errors import FileTooLarge, InvalidRequest, Overloaded, SfssError
from sfss.http.messages import Response
from sfss.objects.manifests import is_utf8
from sfss.objects.service import Objects, check_names
from sfss.web.api.swift_bulk import outcome
from sfss.web.api.swift_request import Asked

#: So many archives are read at once, each in a thread of its own.
MOST_AT_ONCE = 8
#: What stands before a file (a long name, other attributes) has no more. Bytes.
_MOST_HEADER = 64 * 1024
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
MOST_FILES = 10_000
MOST_ERRORS = 1000
_AT_ONCE = 256 * 1024


async def extract(objects: Objects, asked: Asked, kind: str, content_type: str) -> Response:
    """Its files below what the URL names. The answer says how many, and which could not be put."""
    if kind not in _KINDS:
        raise InvalidRequest("extract-archive is tar, tar.gz or tar.bz2.")
    below = f"{asked.container}/{asked.name}".strip("/")
    created = 0
    errors: list[list[str]] = []
    made: set[str] = set()  # containers
    if len(_under_way) >= MOST_AT_ONCE:
        raise Overloaded.now()
    members = _Members(asked.body, _KINDS[kind])
    _under_way.add(members)
    status = "201 Created"
    try:
        while (member := await members.next()) is not None:
            path = f"{below}/{member.name.removeprefix('./').lstrip('/')}".lstrip("/")
            container, _, name = path.partition("/")
            try:
                if not is_utf8(path):
                    raise InvalidRequest("The name is not valid UTF-8.")
                if member.issparse():
                    raise InvalidRequest("Sparse files are not unpacked.")
                check_names(container, name)
                if container not in made:
                    await objects.catalog.make_container(asked.account, container, {})
                    made.add(container)
                content = members.content()
                await objects.put(
                    asked.account,
                    container,
                    name,
                    content,
                    content_type=content_type,
                    metadata={},
                    length=member.size,
                )
                created += 1
            except (InvalidRequest, FileTooLarge) as error:
                errors.append([path.encode("utf-8", "replace").decode(), f"400 Bad Request: {error}"])
            if created + len(errors) > MOST_FILES or len(errors) > MOST_ERRORS:
                raise InvalidRequest(f"There are at most {MOST_FILES} files in an archive.")
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError) as error:
        errors.append(["", f"The archive cannot be read: {error}"])
        status = "400 Bad Request"
    except SfssError as error:
        if not created:
            raise
        errors.append(["", str(error)])  # what is there already stays: the client has to know
        status = "400 Bad Request"
    finally:
        _under_way.discard(members)
        members.close()
    return outcome({"Number Files Created": created}, errors, asked.headers, status=status)


class _Header(tarfile.TarInfo):
    """A header, which says what is read into memory, that is no longer than it needs to be."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and found.size > _MOST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return found


class _Gunzip:
    """As :class:`bz2.BZ2Decompressor`, of gzip."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof


#: How each is decompressed: never more at once than is asked for.
_KINDS: dict[str, Callable[[], Any] | None] = {
    "tar": None,
    "tar.gz": _Gunzip,
    "tar.bz2": bz2.BZ2Decompressor,
}


class _Reading:
    """The body, decompressed, for a thread: a file that can be read."""

    def __init__(self, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop, decompress: Any):
        self._body = body
        self._loop = loop
        self._decompress = decompress
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            if not self._rest:
                self._rest = memoryview(self._next(size - len(found)))
                if not self._rest:
                    break
            part = self._rest[: size - len(found)]
            self._rest = self._rest[len(part) :]
            found += part
        return bytes(found)

    def _next(self, most: int) -> bytes:
        """The next bytes; none at the end. :raises EOFError: if what is compressed is cut off."""
        if self._decompress is None:
            return self._more()
        while not self._decompress.eof:
            data = self._more() if self._decompress.needs_input else b""
            if self._decompress.needs_input and not data:
                raise EOFError("it is cut off")
            if found := self._decompress.decompress(data, most):
                return bytes(found)
        return b""

    def _more(self) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._came(), self._loop).result()

    async def _came(self) -> bytes:
        return await anext(self._body, b"")


class _Members:
    """The files in the archive that *body* is, one by one. Its thread is its own: it waits for the client."""

    def __init__(self, body: AsyncIterator[bytes], decompressor: Callable[[], Any] | None):
        self._loop = asyncio.get_running_loop()
        self._reading = _Reading(body, self._loop, decompressor() if decompressor else None)
        self._thread = ThreadPoolExecutor(1, "archive")
        self._archive: Any = None
        self._members: Iterator[tarfile.TarInfo] = iter(())
        self._file: Any = None

    async def next(self) -> tarfile.TarInfo | None:
        return await self._loop.run_in_executor(self._thread, self._next)

    def _next(self) -> tarfile.TarInfo | None:
        if self._archive is None:
            self._archive = tarfile.open(fileobj=cast(Any, self._reading), mode="r|", tarinfo=_Header)  # noqa: SIM115
            self._members = iter(self._archive)
        for member in self._members:
            self._archive.members = []  # or it would keep all that has been
            if member.isfile():
                self._file = self._archive.extractfile(member)
                return member
        return None

    async def content(self) -> AsyncIterator[bytes]:
        while data := await self._loop.run_in_executor(self._thread, self._file.read, _AT_ONCE):
            yield data

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


_under_way: set[_Members] = set()
