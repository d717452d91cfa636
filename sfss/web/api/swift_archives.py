"""Archives whose files become objects, as Swift's bulk middleware does it.

Source: https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.bulk.
The archive is read in a thread, which waits for the body, and for each object to be stored.
"""

import asyncio
import tarfile
import zlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from sfss.errors import FileTooLarge, InvalidRequest, SfssError
from sfss.http.messages import Response
from sfss.objects.manifests import is_utf8
from sfss.objects.service import Objects, check_names
from sfss.web.api.swift_bulk import outcome
from sfss.web.api.swift_request import Asked

_MODES = {"tar": "r|", "tar.gz": "r|gz", "tar.bz2": "r|bz2"}
MOST_FILES = 10_000
_MOST_ERRORS = 1000
_AT_ONCE = 256 * 1024


async def extract(objects: Objects, asked: Asked, kind: str, content_type: str) -> Response:
    """Its files below what the URL names. The answer says how many, and which could not be put."""
    if kind not in _MODES:
        raise InvalidRequest("extract-archive is tar, tar.gz or tar.bz2.")
    below = f"{asked.container}/{asked.name}".strip("/")
    created = 0
    errors: list[list[str]] = []
    made: set[str] = set()  # containers
    members = _Members(asked.body, _MODES[kind])
    status = "201 Created"
    try:
        while (member := await members.next()) is not None:
            path = f"{below}/{member.name.removeprefix('./').lstrip('/')}".lstrip("/")
            container, _, name = path.partition("/")
            try:
                if not is_utf8(path):
                    raise InvalidRequest("The name is not valid UTF-8.")
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
            if created + len(errors) > MOST_FILES or len(errors) > _MOST_ERRORS:
                raise InvalidRequest(f"There are at most {MOST_FILES} files in an archive.")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        errors.append(["", f"The archive cannot be read: {error}"])
        status = "400 Bad Request"
    except SfssError as error:
        if not created:
            raise
        errors.append(["", str(error)])  # what is there already stays: the client has to know
        status = "400 Bad Request"
    finally:
        members.close()
    return outcome({"Number Files Created": created}, errors, asked.headers, status=status)


class _Reading:
    """The body, for a thread: a file that can be read."""

    def __init__(self, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop):
        self._body = body
        self._loop = loop
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size:
            data = asyncio.run_coroutine_threadsafe(self._more(), self._loop).result()
            if not data:
                break
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]

    async def _more(self) -> bytes:
        return await anext(self._body, b"")


class _Members:
    """The files in the archive that *body* is, one by one. Its thread is its own: it waits for the client."""

    def __init__(self, body: AsyncIterator[bytes], mode: str):
        self._loop = asyncio.get_running_loop()
        self._reading = _Reading(body, self._loop)
        self._mode = mode
        self._thread = ThreadPoolExecutor(1, "archive")
        self._archive: Any = None
        self._members: Iterator[tarfile.TarInfo] = iter(())
        self._file: Any = None

    async def next(self) -> tarfile.TarInfo | None:
        return await self._loop.run_in_executor(self._thread, self._next)

    def _next(self) -> tarfile.TarInfo | None:
        if self._archive is None:
            self._archive = tarfile.open(fileobj=cast(Any, self._reading), mode=cast(Any, self._mode))  # noqa: SIM115
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
