"""Many files at once, as a tar archive: ``GET /archive?prefix=PREFIX`` (of a node: ``/_archive``), or ``POST`` with a
list of paths, and ``POST`` with an archive, whose files are kept.

Both ways no more is in memory than a few files. An answer that has begun cannot say any more that something is wrong:
then the connection is cut off before the archive ends.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote

from sfss.admission import Room
from sfss.config.server import ServerSettings
from sfss.errors import (
    FileTooLarge,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    SfssError,
)
from sfss.http.exchange import Exchange
from sfss.http.messages import Request, Response
from sfss.paths import check_path
from sfss.service import FileService
from sfss.web.api.listings import text_argument
from sfss.web.archives import END, KINDS, UNREADABLE, Members, entry, kind_of, padding
from sfss.web.errors import error_response, status_of
from sfss.web.forms import parameters_of
from sfss.web.operations import Call, MakeOperation
from sfss.web.streams import Gone, Incoming, Outgoing

#: So many paths a list may have, and so many bytes.
MOST_LISTED, _MOST_LIST = 10_000, 2 * 1024 * 1024
#: So many archives are taken at once, each in a thread of its own.
MOST_AT_ONCE = 8
#: So many files are fetched at once, where that takes time.
_AHEAD = 8
#: Bytes that are sent at once.
_SENT = 128 * 1024
#: So much of a report is in memory. Bytes.
_REPORT_IN_MEMORY = 256 * 1024
#: So long a download that has begun waits for room for its next file. Seconds.
_LONGEST_WAIT = 60.0


class _File(NamedTuple):
    path: str
    modified: float | None = None


class Archives:
    """Of the files of *service*, at the URL *path*. *check*: raises an error if a path is not for files."""

    def __init__(
        self,
        service: FileService,
        settings: ServerSettings,
        path: str,
        check: Callable[[str], object] = check_path,
    ):
        self._service = service
        self._lists = settings.listing
        self._timeout = settings.upload_timeout
        self._path = path
        self._check = check
        self._under_way = 0
        self._handlers = {"GET": self.send, "HEAD": self.send, "POST": self.post}

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`sfss.web.api.description.Api`."""
        if request.path != self._path or request.method == "OPTIONS":
            return None
        handler = self._handlers.get(request.method)
        if handler is None:
            raise MethodNotAllowed(request.method, self._handlers)
        return lambda asked: Call(asked, handler), self._path

    def is_reading(self, request: Request) -> bool:
        """Whether it is a POST that only asks for files."""
        return request.method == "POST" and request.path == self._path and _is_list(request)

    async def post(self, exchange: Exchange) -> Response | None:
        if _is_list(exchange):
            return await self.send_listed(exchange)
        return await self.take(exchange)

    # From here.

    async def send(self, exchange: Exchange) -> Response | None:
        """All files whose paths begin with ``prefix``."""
        if not self._lists:
            raise Forbidden("Listings are closed on this server (--no-listing): POST a list of paths.")
        prefix = text_argument(exchange.query, "prefix")
        pages = self._pages(prefix)
        first = await anext(pages)  # whether there can be an archive is known then
        return await self._send(exchange, prefix.rstrip("/").rpartition("/")[2] or "files", first, pages)

    async def send_listed(self, exchange: Exchange) -> Response | None:
        """Those that the body names, a JSON list of paths; what is not there is not in the archive."""
        body = await Incoming(exchange, self._timeout).whole(most=_MOST_LIST)
        try:
            paths = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidRequest("The body is not JSON.") from None
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise InvalidRequest("The body is a list of paths.")
        if len(paths) > MOST_LISTED:
            raise InvalidRequest(f"The list has at most {MOST_LISTED} paths.")
        for path in paths:
            self._check(path)
        return await self._send(exchange, "files", [_File(path) for path in paths], _nothing())

    async def _pages(self, prefix: str) -> AsyncIterator[Sequence[_File]]:
        cursor: str | None = ""
        while cursor is not None:
            listing = await self._service.list_files(prefix, cursor, 1000, "")
            yield [_File(file.path, file.modified) for file in listing.files]
            cursor = listing.cursor

    async def _send(
        self, exchange: Exchange, name: str, first: Sequence[_File], pages: AsyncIterator[Sequence[_File]]
    ) -> Response | None:
        lines = (
            "Content-Type: application/x-tar\r\nCache-Control: no-store\r\n"
            f"Content-Disposition: attachment; filename*=UTF-8''{quote(name, safe='')}.tar\r\n"
        )
        if exchange.method == "HEAD":
            return Response(200, lines)
        answer = Outgoing(exchange, 200, lines, None)
        try:
            waiting = bytearray()
            async with aclosing(self._archived(first, pages)) as archive:
                async for data in archive:
                    waiting += data
                    if len(waiting) >= _SENT:
                        await answer.send(bytes(waiting))
                        waiting.clear()
                        await asyncio.sleep(0)  # others have their turn
            await answer.send(bytes(waiting) + END)
            answer.finish()
        except Exception as error:
            answer.fail(error, "an archive was cut off")
        return None

    async def _archived(
        self, first: Sequence[_File], pages: AsyncIterator[Sequence[_File]]
    ) -> AsyncGenerator[bytes, None]:
        """The archive, without its end."""
        now = time.time()
        page: Sequence[_File] | None = first
        while page is not None:
            async with aclosing(self._contents(page)) as contents:
                async for file, content in contents:
                    modified = int(now if file.modified is None else file.modified)
                    yield b"".join((entry(file.path, len(content), modified), content, padding(len(content))))
            page = await anext(pages, None)

    async def _contents(
        self, files: Sequence[_File]
    ) -> AsyncGenerator[tuple[_File, bytes | bytearray], None]:
        """Of those that are there, in their order."""
        if self._service.reads_at_once:
            with self._service.room_to_read() as room:
                for file in files:
                    content = await self._content(file, room)
                    if content is not None:
                        yield file, content
            return
        for start in range(0, len(files), _AHEAD):
            some = files[start : start + _AHEAD]
            rooms = [self._service.room_to_read() for _ in some]
            try:
                asked = [self._content(file, room) for file, room in zip(some, rooms)]
                for file, content in zip(some, await asyncio.gather(*asked)):
                    if content is not None:
                        yield file, content
            finally:
                for room in rooms:
                    room.release()

    async def _content(self, file: _File, room: Room) -> bytes | bytearray | None:
        """None: it is not there (any more)."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            try:
                return (await self._service.get(file.path, room)).content
            except NotFound:
                return None
            except Overloaded:
                room.release()
                if time.monotonic() > deadline:
                    raise

    # To here.

    async def take(self, exchange: Exchange) -> Response | None:
        """Keep the files of the archive that the body is, under ``prefix``. The answer has a line of JSON for each that
        was not passed over, and one at the end. Its status is that of the first error, if there is one.
        """
        prefix = text_argument(exchange.query, "prefix")
        if prefix:
            check_path(f"{prefix}x")
        if self._under_way >= MOST_AT_ONCE:
            raise Overloaded.now()
        self._under_way += 1
        body = Incoming(exchange, self._timeout)
        report = _Report()
        room = self._service.room_to_write()
        try:
            begin = await anext(body, b"")
            members = Members(_all_of(begin, body), KINDS[kind_of(begin)])
            try:
                await self._take_all(members, prefix, room, report)
            finally:
                members.close()
            return await report.answer(exchange)
        finally:
            self._under_way -= 1
            room.release()
            report.close()

    async def _take_all(self, members: Members, prefix: str, room: Room, report: "_Report") -> None:
        most = self._service.max_file_size
        try:
            batch = await members.batch(most)
            while batch and report.ended is None:
                await room.grow(2 * sum(len(content or b"") for _, content in batch))  # and as much comes
                coming = asyncio.create_task(members.batch(most))
                try:
                    await asyncio.gather(
                        *(self._take(member, content, prefix, report) for member, content in batch)
                    )
                    batch = await coming
                finally:
                    coming.cancel()
        except UNREADABLE as error:
            report.ended = InvalidRequest(f"The archive cannot be read: {error}.")
        except SfssError as error:
            report.ended = error

    async def _take(self, member: Any, content: bytes | None, prefix: str, report: "_Report") -> None:
        if member.isdir() or report.ended is not None:
            return
        path = prefix + member.name.removeprefix("./").lstrip("/")
        try:
            if content is None:
                if member.isreg() and not member.issparse():
                    raise FileTooLarge.over(self._service.max_file_size)
                raise InvalidRequest("This is not a regular file.")
            self._check(path)
            kept = await self._service.put(path, content)
        except (InvalidRequest, FileTooLarge) as error:
            report.add_error(path, error)
        except SfssError as error:  # so it would be with the others
            report.add_error(path, error)
            report.ended = report.ended or error
        else:
            report.add(path, kept)


class _Report:
    """What has become of the files of an archive. It is not sent before the body has come: a client that reads nothing
    until then would wait for us, and we for it.
    """

    def __init__(self) -> None:
        self.ended: SfssError | None = None  #: why the rest was not taken
        self._first: SfssError | None = None
        self._lines = tempfile.SpooledTemporaryFile(_REPORT_IN_MEMORY)  # noqa: SIM115
        self._files = self._bytes = self._failed = 0

    def add(self, path: str, kept: Any) -> None:
        """*kept*: what the service has said of a file."""
        self._files += 1
        self._bytes += kept.size
        line = {"path": path, "size": kept.size, "etag": kept.etag}
        if (name := getattr(kept, "path", path)) != path:  # a node has given it one
            line["name"] = name
        self._write(line)

    def add_error(self, path: str, error: SfssError) -> None:
        self._failed += 1
        self._first = self._first or error
        shown = path.encode("utf-8", "replace").decode()
        self._write({"path": shown, "status": status_of(error), "error": str(error)})

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    async def answer(self, exchange: Exchange) -> Response | None:
        error = self._first or self.ended
        if self._files == self._failed == 0 and error is not None:
            return error_response(error)
        last: dict[str, Any] = {"files": self._files, "bytes": self._bytes, "failed": self._failed}
        if self.ended is not None:
            last |= {"status": status_of(self.ended), "error": f"{self.ended} The rest was not taken."}
        self._write(last)
        lines = "Content-Type: application/x-ndjson; charset=utf-8\r\nCache-Control: no-store\r\n"
        answer = Outgoing(
            exchange, 200 if error is None else status_of(error).value, lines, self._lines.tell()
        )
        self._lines.seek(0)
        try:
            while data := self._lines.read(_SENT):
                await answer.send(data)
        except Gone:
            return None
        answer.finish()
        return None

    def close(self) -> None:
        self._lines.close()


def _is_list(request: Request) -> bool:
    return parameters_of(request.headers.get("content-type"))[0] == "application/json"


async def _all_of(begin: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for data in rest:
        yield data


async def _nothing() -> AsyncIterator[Sequence[_File]]:
    pages: Sequence[Sequence[_File]] = ()
    for page in pages:
        yield page
