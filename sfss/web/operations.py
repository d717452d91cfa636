"""What a request wants of a file service: the rules for a file, written once.

An operation is made of the head of a request, and raises what is wrong with that. There are two ways to do
it. The HTTP engine (:mod:`sfss.web.dispatch`) begins it by a call, without a task, and it is then the
receiver of the store's answer. The aiohttp application (:mod:`sfss.web.app`) awaits it. The answer is the same.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from sfss.admission import Room
from sfss.errors import NotFound
from sfss.http.exchange import Exchange
from sfss.http.messages import Request, Response
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.service import FileService
from sfss.web.conditional import CONDITIONS, is_unchanged, requested_range
from sfss.web.content_headers import FileHeaders
from sfss.web.eager import Begun
from sfss.web.uploads import Upload


class Operation:
    """What *request* wants. *room*: where what it takes is counted."""

    __slots__ = ("content", "exchange", "go_on", "request", "room", "upload")

    exchange: Exchange  #: the same as the request; a caller that begins it sets it, and the next
    go_on: Callable[["Operation"], None]  #: called if it is to be awaited all the same

    def __init__(self, request: Request, room: Room | None = None):
        self.request = request
        self.room = request.room = room
        #: Takes the body; None: the operation has none, and what comes of one is of no interest.
        self.upload: Upload | None = None
        self.content: bytes = b""  #: what the upload has made of it

    @property
    def is_write(self) -> bool:
        return False

    def begin(self) -> bool:
        """Begin, now that the body is here. False: that is not possible now; :meth:`run` is the way."""
        raise NotImplementedError

    async def run(self) -> Response | None:
        """Do it. None: it is answered already. :raises SfssError:"""
        raise NotImplementedError

    def response(self, result: Any) -> Response:
        """What the client gets to see of what the store has answered. :raises SfssError:

        (That is a :class:`StoredFile` or a :class:`FileInfo`, or what a node says of a put.)
        """
        raise NotImplementedError

    # The receiver (sfss.completion).

    def done(self) -> bool:
        return self.exchange.connection is None

    def set_result(self, result: Any) -> None:
        try:
            response = self.response(result)
        except Exception as error:
            self.exchange.fail(error)
        else:
            self.exchange.respond(response)

    def set_exception(self, error: Exception) -> None:
        self.exchange.fail(error)


class Read(Operation):
    """An operation that reads the file *path*."""

    __slots__ = ("_headers", "_service", "_taken", "path")

    def __init__(self, request: Request, path: str, service: FileService, headers: FileHeaders):
        self._taken = service.room_to_read()
        Operation.__init__(self, request, self._taken)
        self.path = path
        self._service = service
        self._headers = headers


class ReadWhole(Read):
    """One that needs the content."""

    __slots__ = ()

    def begin(self) -> bool:
        return self._service.begin_get(self.path, self._taken, self)

    async def run(self) -> Response:
        return self.response(await self._service.get(self.path, self._taken))


class Get(ReadWhole):
    """``GET`` of the file *path*."""

    __slots__ = ()

    def set_result(self, file: StoredFile | None) -> None:
        if file is not None and not self._taken.try_grow(len(file.content)):
            self.go_on(self)  # it is read again when there is room for it
        else:
            Operation.set_result(self, file)

    def response(self, file: StoredFile | None) -> Response:
        if file is None:
            raise NotFound.of(self.path)
        content = file.content
        request_headers = self.request.headers
        if CONDITIONS.isdisjoint(request_headers.raw):
            return Response(200, self._headers.lines(self.path, file), content)
        info = file.info
        if is_unchanged(request_headers, info):
            return Response(304, self._headers.lines_of_unchanged(file))
        lines = self._headers.lines(self.path, file)
        if part := requested_range(request_headers, info):
            start, stop = part
            lines += f"Content-Range: bytes {start}-{stop - 1}/{info.size}\r\n"
            return Response(206, lines, memoryview(content)[start:stop])
        return Response(200, lines, content)


class Head(Read):
    """``HEAD`` of the file *path*, whose content does not matter."""

    __slots__ = ()

    def begin(self) -> bool:
        return self._service.begin_stat(self.path, self._taken, self)

    async def run(self) -> Response:
        return self.response(await self._service.stat(self.path, self._taken))

    def response(self, info: FileInfo | None) -> Response:
        if info is None:
            raise NotFound.of(self.path)
        if is_unchanged(self.request.headers, info):
            return Response(304, self._headers.lines_of_unchanged(info))
        lines = self._headers.lines_without_content(self.path, info)
        return Response(200, lines, length=info.size)


class HeadOfText(ReadWhole):
    """``HEAD`` of a file whose headers need a look at its content."""

    __slots__ = ()

    def response(self, file: StoredFile | None) -> Response:
        if file is None:
            raise NotFound.of(self.path)
        if is_unchanged(self.request.headers, file.info):
            return Response(304, self._headers.lines_of_unchanged(file))
        return Response(200, self._headers.lines(self.path, file), length=len(file.content))


def head(request: Request, path: str, service: FileService, headers: FileHeaders) -> Operation:
    """``HEAD`` of the file *path*."""
    kind = HeadOfText if headers.depends_on_content(path) else Head
    return kind(request, path, service, headers)


class Write(Operation):
    """An operation that changes a file. It gets its answer though nobody may wait for it any more: what it has
    taken is given back then.
    """

    __slots__ = ("_is_done",)

    def __init__(self, request: Request, room: Room | None = None):
        Operation.__init__(self, request, room)
        self._is_done = False

    @property
    def is_write(self) -> bool:
        return True

    def done(self) -> bool:
        return self._is_done

    def is_waited_for(self) -> bool:
        return self.exchange.client_waits()

    def set_result(self, result: Any) -> None:
        self._is_done = True
        Operation.set_result(self, result)

    def set_exception(self, error: Exception) -> None:
        self._is_done = True
        Operation.set_exception(self, error)


class Put(Write):
    """The body becomes the file *path*. *written* makes the answer."""

    __slots__ = ("_path", "_precondition", "_service", "_written")

    def __init__(
        self,
        request: Request,
        path: str,
        service: FileService,
        precondition: Precondition | None,
        upload: Upload,
        written: Callable[[str, Any], Response],
    ):
        Write.__init__(self, request, service.room_to_write())
        self.upload = upload
        self._path = path
        self._service = service
        self._precondition = precondition
        self._written = written

    def begin(self) -> bool:
        return self._service.begin_put(self._path, self.content, self._precondition, self)

    async def run(self) -> Response:
        info = await self._service.put(self._path, self.content, self._precondition)
        return self.response(info)

    def response(self, info: Any) -> Response:
        return self._written(self._path, info)


class Delete(Write):
    """``DELETE`` of the file *path*, answered with *status*."""

    __slots__ = ("_path", "_precondition", "_service", "_status")

    def __init__(
        self,
        request: Request,
        path: str,
        service: FileService,
        precondition: Precondition | None,
        status: int = 204,
    ):
        Write.__init__(self, request)
        self._path = path
        self._service = service
        self._precondition = precondition
        self._status = status

    def begin(self) -> bool:
        return self._service.begin_delete(self._path, self._precondition, self)

    async def run(self) -> Response:
        await self._service.delete(self._path, self._precondition)
        return self.response(None)

    def response(self, result: None) -> Response:
        return Response(self._status)


#: Answers a request: by what it returns; or itself, piece by piece, and then it returns None.
Answer = Callable[[Exchange], Coroutine[Any, Any, Response | None]]


class Call(Operation):
    """A request that *answer* answers, a coroutine. Nothing of its body is asked for before that.

    *at_once*: it begins without a task, which costs as much as a small read. It must then have no time limits by
    :func:`asyncio.timeout` before it first waits for something.
    """

    __slots__ = ("_answer", "_at_once", "_begun")

    def __init__(self, request: Request, answer: Answer, *, at_once: bool = False):
        Operation.__init__(self, request)
        self._answer = answer
        self._at_once = at_once
        self._begun: Begun[Response | None] | None = None

    def begin(self) -> bool:
        if not self._at_once:
            return False
        coroutine = self._answer(self.exchange)
        try:
            waits_for = coroutine.send(None)
        except StopIteration as end:
            if end.value is not None:
                self.exchange.respond(end.value)
            return True
        self._begun = Begun(coroutine, waits_for)
        return False

    async def run(self) -> Response | None:
        if self._begun is not None:
            return await self._begun
        return await self._answer(self.exchange)


#: Makes the operation of a request. :raises SfssError: if something is wrong with its head.
MakeOperation = Callable[[Request], Operation]
