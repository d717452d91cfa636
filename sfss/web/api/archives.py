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
from typing import Any
from urllib.parse import quote

from sfss.admission import Room
from sfss.config.server import ServerSettings
from sfss.errors import (
    AlreadyDeleted,
    FileTooLarge,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NameTaken,
    NotFound,
    Overloaded,
    SfssError,
)
from sfss.http.exchange import Exchange
from sfss.http.messages import Request, Response
from sfss.paths import check_path
from sfss.service import FileService, Listed
from sfss.tar import END, entry, padding
from sfss.web.api.listings import text_argument
from sfss.web.archives import FILE, FOLDER, LINK, SPARSE, Archive, plain
from sfss.web.errors import error_response, status_of
from sfss.web.forms import parameters_of
from sfss.web.operations import Call, MakeOperation
from sfss.web.streams import Gone, Incoming, Outgoing

#: So many paths a list may have, and so many bytes.
MOST_LISTED, _MOST_LIST = 10_000, 2 * 1024 * 1024
#: What is put together: at least so many bytes, or so many files.
_GROUP_BYTES, _GROUP_FILES = 1024 * 1024, 256
#: So many files are fetched at once, where that takes time.
_AHEAD = 8
#: Bytes that are sent at once.
_SENT = 128 * 1024
#: So much of a report is in memory. Bytes.
_REPORT_IN_MEMORY = 256 * 1024
#: So long a download that has begun waits for room for its next file. Seconds.
_LONGEST_WAIT = 60.0

#: Why an entry is no file here, though it is one to who has made the archive.
_WHY_NOT = {
    LINK: "This is a second name of a file before it: tar --hard-dereference puts it there twice.",
    SPARSE: "This is a sparse file: make the archive without -S.",
}


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
        return await self._send(exchange, "files", [Listed(path) for path in paths], _nothing())

    async def _pages(self, prefix: str) -> AsyncIterator[Sequence[Listed]]:
        cursor: str | None = ""
        while cursor is not None:
            listing = await self._service.list_files(prefix, cursor, 1000, "")
            yield listing.files
            cursor = listing.cursor

    async def _send(
        self, exchange: Exchange, name: str, first: Sequence[Listed], pages: AsyncIterator[Sequence[Listed]]
    ) -> Response | None:
        lines = (
            "Content-Type: application/x-tar\r\nCache-Control: no-store\r\n"
            f"Content-Disposition: attachment; filename*=UTF-8''{quote(name, safe='')}.tar\r\n"
        )
        if exchange.method == "HEAD":
            Outgoing(exchange, 200, lines, None).finish()  # nobody knows how long it would be
            return None
        # While others wait for its room, a client that does not take what there is is cut off.
        room = exchange.room = self._service.room_to_read()
        answer = Outgoing(exchange, 200, lines, None)
        now = time.time()
        waiting = bytearray()
        page: Sequence[Listed] | None = first
        try:
            while page is not None:
                async with aclosing(self._contents(page, room)) as contents:
                    async for file, content in contents:
                        modified = int(now if file.modified is None else file.modified)
                        waiting += entry(file.path, len(content), modified)
                        if len(content) > _SENT:
                            await answer.send(bytes(waiting))
                            waiting.clear()
                            await answer.send(memoryview(content))
                        else:
                            waiting += content
                        waiting += padding(len(content))
                        if len(waiting) >= _SENT:
                            await answer.send(bytes(waiting))
                            waiting.clear()
                            await asyncio.sleep(0)  # others have their turn
                page = await anext(pages, None)
            await answer.send(bytes(waiting) + END)
            answer.finish()  # (the engine gives the room back when all of it is taken)
        except Exception as error:
            answer.fail(error, "an archive was cut off")
            room.release()
        return None

    async def _contents(
        self, files: Sequence[Listed], room: Room
    ) -> AsyncGenerator[tuple[Listed, bytes | bytearray], None]:
        """Of those that are there, in their order. What they take is in *room* until the next one is asked for."""
        if self._service.reads_at_once:
            for file in files:
                content = await self._content(file, room)
                if content is not None:
                    yield file, content
            return
        for start in range(0, len(files), _AHEAD):
            some = files[start : start + _AHEAD]
            for file, content in zip(some, await self._together(some, room)):
                if content is not None:
                    yield file, content

    async def _together(self, files: Sequence[Listed], room: Room) -> list[bytes | bytearray | None]:
        """The contents of *files*, for all of which *room* is taken."""
        room.release()
        rooms = [self._service.room_to_read() for _ in files]
        tasks = [asyncio.create_task(self._content(file, each)) for file, each in zip(files, rooms)]
        try:
            found = await asyncio.gather(*tasks)
            room.grow_anyway(sum(len(content or b"") for content in found))
            return found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)  # none of them may take anything when its room is given back
            for each in rooms:
                each.release()

    async def _content(self, file: Listed, room: Room) -> bytes | bytearray | None:
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
        report = _Report()
        room = self._service.room_to_write()
        try:
            archive = Archive(plain(Incoming(exchange, self._timeout)))
            try:
                await self._take_all(archive, prefix, room, report)
            except SfssError as error:
                report.ended = error
            return await report.answer(exchange)
        finally:
            room.release()
            report.close()

    async def _take_all(self, archive: Archive, prefix: str, room: Room, report: "_Report") -> None:
        """A group of files is put while the next one comes."""
        putting: asyncio.Task[None] | None = None
        is_last = False
        try:
            while not is_last and report.ended is None:
                group, is_last = await self._group(archive, room, report, prefix)
                if putting is not None:
                    await putting
                room.shrink(sum(len(content) for _, content in group))
                putting = asyncio.create_task(self._put_all(group, report))
            if putting is not None:
                await putting
        finally:
            if putting is not None:
                await asyncio.wait([putting])  # what it has is counted in the room

    async def _group(
        self, archive: Archive, room: Room, report: "_Report", prefix: str
    ) -> tuple[list[tuple[str, bytes]], bool]:
        """The next files of the archive, and whether they are the last ones."""
        group: list[tuple[str, bytes]] = []
        size, before = 0, room.taken  # by the group that is on its way into the store
        try:
            while size < _GROUP_BYTES and len(group) < _GROUP_FILES:
                member = await archive.next()
                if member is None:
                    return group, True
                if member.kind == FOLDER:
                    continue
                path = prefix + member.path
                try:
                    if member.kind != FILE:
                        raise InvalidRequest(_WHY_NOT.get(member.kind, "This is not a regular file."))
                    self._service.check_size(member.size)
                    self._check(path)
                except (InvalidRequest, FileTooLarge) as error:
                    report.add_error(path, error)
                    continue
                size += member.size
                await room.grow(before + size)
                group.append((path, await archive.whole(member)))
        except SfssError as error:  # what is here of it is kept
            report.ended = error
            return group, True
        return group, False

    async def _put_all(self, group: Sequence[tuple[str, bytes]], report: "_Report") -> None:
        await asyncio.gather(*(self._put(path, content, report) for path, content in group))

    async def _put(self, path: str, content: bytes, report: "_Report") -> None:
        try:
            kept = await self._service.put(path, content)
        except SfssError as error:
            report.add_error(path, error)
            if not isinstance(error, InvalidRequest | FileTooLarge | AlreadyDeleted | NameTaken):
                report.ended = report.ended or error  # so it would be with the others
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


async def _nothing() -> AsyncIterator[Sequence[Listed]]:
    pages: Sequence[Sequence[Listed]] = ()
    for page in pages:
        yield page
