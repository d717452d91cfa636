"""aiohttp's server, with three things of our own:

* the plain GET is answered at once (:mod:`sfss.web.fastpath`);
* a shutdown cuts nothing off. aiohttp 3.14 drops what arrives of a body once shutdown has
  begun (``RequestHandler.close`` and ``shutdown`` make ``data_received`` deaf), so an upload
  under way would never end. Here the requests under way end first, each answered with
  ``Connection: close``; idle connections are closed at once;
* what is not HTTP gets its error in our form.
"""

import asyncio
from http import HTTPStatus
from time import perf_counter

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sfss.models import StoredFile
from sfss.service import FileService
from sfss.web.access import Access
from sfss.web.errors import problem
from sfss.web.fastpath import head_of_answer, plain_get
from sfss.web.request_ids import RequestIds

#: How often the server looks whether the last request has ended, in seconds.
_LOOK = 0.02
#: How long an answer waits for the client to stop sending a body that nobody wants (seconds):
#: a connection that is closed with unread bytes resets, and the client may never see the answer.
LINGERING_TIME = 2.0
#: What arrives behind a plain GET before its answer is kept, up to this; then reading pauses.
_HELD_BYTES = 64 * 1024
#: A body up to this size is joined to its head; a larger one is not worth the copy.
_JOIN_BYTES = 32 * 1024


class ClientConnection(RequestHandler):
    """One client's connection.

    Whose turn it is: bytes go to the fast path only while aiohttp waits for a new request and
    has consumed, to the byte, all that it was given (``_at_boundary``). While a plain GET is under
    way, what arrives is held back, and goes the usual way after the answer.
    """

    __slots__ = ("_at_boundary", "_fast_get", "_given", "_head_size", "_held")

    def __init__(self, manager: "Server", **options):
        super().__init__(manager, **options)
        self._at_boundary = True  # the next byte begins a request
        self._head_size = 0  # of the request that aiohttp has; 0: not known
        self._given = 0  # bytes that aiohttp was given since the boundary
        self._fast_get: _FastGet | None = None
        self._held = b""

    @property
    def busy(self) -> bool:
        """Whether a request is under way: its head has arrived, and its answer is not yet sent."""
        if self.transport is None:
            return False
        return self._fast_get is not None or self._waiter is None

    def data_received(self, data: bytes) -> None:
        if self._fast_get is not None:
            self._held += data
            if len(self._held) > _HELD_BYTES:
                self.transport.pause_reading()
            return
        if self._at_boundary:
            if (
                self._waiter is not None
                and not self._waiter.done()
                and not self._paused  # the client reads what it is sent
                and not (self._close or self._force_close)
                and (path := plain_get(data)) is not None
                and self._begin(path, data)
            ):
                return
            self._at_boundary = False
            # A head that comes in pieces is not measured: such a connection stays with aiohttp.
            self._head_size = data.find(b"\r\n\r\n") + 4
            self._given = 0
        self._given += len(data)
        super().data_received(data)

    def _begin(self, path: str, data: bytes) -> bool:
        """Begin to answer the plain GET *data*; False if that is not possible."""
        self._fast_get = fast_get = _FastGet(self, path, data)
        if self._manager.service.begin_get(path, fast_get):
            return True
        self._fast_get = None
        return False

    def answer(self, fast_get: "_FastGet", file: StoredFile | None) -> None:
        """The store has answered. None: aiohttp shall find out what to say, and say it."""
        self._fast_get = None
        if self.transport is None:
            return  # closed from our side
        held, self._held = self._held, b""
        if len(held) > _HELD_BYTES:
            self.transport.resume_reading()
        if file is None:
            self._at_boundary = False
            self._head_size = self._given = len(fast_get.data)
            super().data_received(fast_get.data)
        else:
            self._send(fast_get, file)
        if held and self.transport is not None:
            self.data_received(held)

    def _send(self, fast_get: "_FastGet", file: StoredFile) -> None:
        server = self._manager
        request_id = server.request_ids.new()
        content = file.content
        head = head_of_answer(fast_get.path, file, request_id, close=server.draining)
        if len(content) <= _JOIN_BYTES:
            self.transport.write(head + content)
        else:
            self.transport.writelines((head, content))
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        server.access.note(
            method="GET",
            target=f"/file?path={fast_get.path}",
            status=200,
            bytes_in=0,
            bytes_out=len(head) + len(content),
            seconds=perf_counter() - fast_get.started,
            remote=self.peername[0] if self.peername else None,
            request_id=request_id,
        )
        if server.draining:
            self.force_close()

    async def finish_response(self, request, resp, start_time):
        """aiohttp sends an answer; afterwards it may have nothing left."""
        if self._manager is not None and self._manager.draining:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        length = request.content_length or 0
        if (
            self._head_size > 3  # it was found
            and self._given == self._head_size + length
            and request.content.is_eof()
            and "Transfer-Encoding" not in request.headers
            and not self._upgraded
            and not self._messages
        ):
            self._at_boundary = True
        return finished

    def connection_lost(self, error: BaseException | None) -> None:
        self._fast_get = None
        self._held = b""
        super().connection_lost(error)

    def _process_keepalive(self) -> None:
        if self._fast_get is not None:  # aiohttp believes it is idle
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def handle_error(self, request, status=500, exc=None, message=None):
        """What is not HTTP, and what even the middleware did not catch."""
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer is sent already")
        if status == HTTPStatus.BAD_REQUEST:
            first_line = (message or "").strip().partition("\n")[0]
            response = problem(HTTPStatus.BAD_REQUEST, f"This is not valid HTTP: {first_line}")
        else:
            self.log_exception("request failed outside its handler", exc_info=exc)
            response = problem(
                HTTPStatus(status), "Something is wrong with sfss itself; its log tells more."
            )
        response.force_close()
        return response


class _FastGet:
    """A plain GET under way: what the store calls back."""

    __slots__ = ("connection", "data", "path", "started")

    def __init__(self, connection: ClientConnection, path: str, data: bytes):
        self.connection = connection
        self.path = path
        self.data = data
        self.started = perf_counter()

    def done(self) -> bool:
        return self.connection._fast_get is not self

    def set_result(self, file: StoredFile | None) -> None:
        self.connection.answer(self, file)

    def set_exception(self, error: Exception) -> None:
        self.connection.answer(self, None)


class Server(web.Server):
    """All clients' connections."""

    def __init__(
        self,
        aiohttp_server: web.Server,
        service: FileService,
        access: Access,
        request_ids: RequestIds,
        **options,
    ):
        super().__init__(
            aiohttp_server.request_handler,
            request_factory=aiohttp_server.request_factory,
            **options,
        )
        self.service = service
        self.access = access
        self.request_ids = request_ids
        self.draining = False

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        self.draining = True
        for connection in self.connections:
            if not connection.busy:
                connection.force_close()

    async def shutdown(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                while any(connection.busy for connection in self.connections):
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pass  # those that are left are cut off now
        await super().shutdown(0.1)


class Runner(web.AppRunner):
    """Runs *app* on a :class:`Server`. *options* are those of :class:`aiohttp.web.AppRunner`."""

    def __init__(
        self,
        app: web.Application,
        service: FileService,
        access: Access,
        request_ids: RequestIds,
        **options,
    ):
        super().__init__(
            app,
            access_log_class=access.aiohttp_class(),
            lingering_time=LINGERING_TIME,
            auto_decompress=False,  # a file is kept as it is sent
            **options,
        )
        self._parts = (service, access, request_ids)

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        return Server(server, *self._parts, **server._kwargs)
