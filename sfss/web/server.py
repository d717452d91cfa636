"""aiohttp's server, with three things of our own:

* the plain requests for a file are answered at once (:mod:`sfss.web.fastpath`);
* a shutdown cuts nothing off. aiohttp 3.14 drops what arrives of a body once shutdown has
  begun (``RequestHandler.close`` and ``shutdown`` make ``data_received`` deaf), so an upload
  under way would never end. Here the requests under way end first, each answered with
  ``Connection: close``, and idle connections are closed a moment later;
* what is not HTTP gets its error in our form.
"""

import asyncio
from http import HTTPStatus
from time import perf_counter

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sfss.errors import NotFound, SfssError
from sfss.models import FileInfo, StoredFile
from sfss.service import FileService
from sfss.web.access import Access
from sfss.web.errors import error_response, problem
from sfss.web.fastpath import PlainRequest, file_head, plain_request, response_bytes
from sfss.web.files import created, updated
from sfss.web.request_ids import RequestIds

#: How long idle connections stay open once a shutdown has begun, in seconds.
IDLE_GRACE = 1.0
#: How often the server looks whether the last request has ended, in seconds.
_LOOK = 0.02
#: How long an answer waits for the client to stop sending a body that nobody wants (seconds):
#: a connection that is closed with unread bytes resets, and the client may never see the answer.
LINGERING_TIME = 2.0
#: What arrives behind a plain request before its answer is kept, up to this; then reading pauses.
_HELD_BYTES = 64 * 1024
#: A body up to this size is joined to its head; a larger one is not worth the copy.
_JOIN_BYTES = 32 * 1024


class ClientConnection(RequestHandler):
    """One client's connection.

    Whose turn it is: bytes go to the fast path only while aiohttp waits for a new request and
    has consumed, to the byte, all that it was given (``_at_boundary``). While a plain request is
    under way, what arrives is held back, and goes the usual way after the answer.
    """

    __slots__ = ("_at_boundary", "_given", "_head_size", "_held", "_plain")

    def __init__(self, manager: "Server", **options):
        super().__init__(manager, **options)
        self._at_boundary = True  # the next byte begins a request
        self._head_size = 0  # of the request that aiohttp has; under 4: not known
        self._given = 0  # bytes that aiohttp was given since the boundary
        self._plain: "_Plain | None" = None  # under way
        self._held = b""

    @property
    def busy(self) -> bool:
        """Whether a request is under way: its head has arrived, and its answer is not yet sent."""
        if self.transport is None:
            return False
        return self._plain is not None or self._waiter is None

    def data_received(self, data: bytes) -> None:
        if self._plain is not None:
            self._held += data
            if len(self._held) > _HELD_BYTES:
                self.transport.pause_reading()
            return
        if self._at_boundary:
            if self._is_idle() and self._begin(data):
                return
            self._at_boundary = False
            self._given = 0
            # A head that comes in pieces is not measured: such a connection stays with aiohttp.
            self._head_size = data.find(b"\r\n\r\n") + 4
        self._given += len(data)
        super().data_received(data)

    def _is_idle(self) -> bool:
        """Whether aiohttp waits for a request, and the client reads what it is sent."""
        return (
            self._waiter is not None
            and not self._waiter.done()
            and not self._paused
            and not self._close
            and not self._force_close
        )

    def _begin(self, data: bytes) -> bool:
        """Begin to answer *data*, if it is a plain request and the store is ready for it."""
        request = plain_request(data)
        if request is None:
            return False
        service = self._manager.service
        if request.method == "GET":
            self._plain = plain = _PlainGet(self, request)
            begun = service.begin_get(request.path, plain)
        else:
            self._plain = plain = _PlainPut(self, request)
            begun = service.begin_put(request.path, request.body, plain)
        if not begun:
            self._plain = None
        return begun

    def answer(self, plain: "_Plain", status: int, head: bytes, body: bytes = b"") -> None:
        """Send the answer of a plain request, and go on with what came behind it."""
        held = self._end_plain()
        if self.transport is None:
            return  # closed from our side
        if len(body) <= _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._manager.access.note(
            method=plain.request.method,
            target=plain.request.target,
            status=status,
            bytes_in=len(plain.request.body),
            bytes_out=len(head) + len(body),
            seconds=perf_counter() - plain.started,
            remote=self.peername[0] if self.peername else None,
            request_id=plain.request_id,
        )
        if plain.close:
            self.force_close()
        elif held:
            self.data_received(held)

    def _end_plain(self) -> bytes:
        """What was held back meanwhile."""
        self._plain = None
        held, self._held = self._held, b""
        if len(held) > _HELD_BYTES and self.transport is not None:
            self.transport.resume_reading()
        return held

    async def finish_response(self, request, resp, start_time):
        """aiohttp sends an answer; afterwards it may have nothing left."""
        if self._manager is not None and self._manager.draining:
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if (
            self._head_size >= 4
            and self._given == self._head_size + (request.content_length or 0)
            and request.content.is_eof()
            and "Transfer-Encoding" not in request.headers
            and not self._upgraded
            and not self._messages
        ):
            self._at_boundary = True
        return finished

    def connection_lost(self, error: BaseException | None) -> None:
        self._plain = None
        self._held = b""
        super().connection_lost(error)

    def _process_keepalive(self) -> None:
        if self._plain is not None:  # aiohttp believes it is idle
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


class _Plain:
    """A plain request under way: what the store calls back (:class:`sfss.stores.base.Receiver`)."""

    __slots__ = ("close", "connection", "request", "request_id", "started")

    def __init__(self, connection: ClientConnection, request: PlainRequest):
        self.connection = connection
        self.request = request
        self.started = perf_counter()
        self.request_id = ""
        self.close = False

    def done(self) -> bool:
        return self.connection._plain is not self

    def set_exception(self, error: SfssError) -> None:
        self._respond(error_response(error))

    def _respond(self, response: web.Response) -> None:
        self._decide()
        close = self.close or response.keep_alive is False
        data = response_bytes(response, self.request_id, close=close)
        self.close = close
        self.connection.answer(self, response.status, data)

    def _decide(self) -> None:
        """What is the same for every answer."""
        server = self.connection._manager
        self.request_id = server.request_ids.new()
        self.close = server.draining


class _PlainGet(_Plain):
    __slots__ = ()

    def set_result(self, file: StoredFile | None) -> None:
        path = self.request.path
        if file is None:
            self.set_exception(NotFound.of(path))
            return
        self._decide()
        head = file_head(path, file, self.request_id, close=self.close)
        self.connection.answer(self, 200, head, file.content)


class _PlainPut(_Plain):
    __slots__ = ()

    def set_result(self, info: FileInfo) -> None:
        made = created if self.request.method == "POST" else updated
        self._respond(made(self.request.path, info))


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

    async def shutdown(self, timeout: float | None = None) -> None:
        """End every connection; those that are busy after *timeout* seconds are cut off."""
        started = self._loop.time()
        # A client may just be sending its next request over a connection that is idle by our
        # lights. Whoever asks in this time is answered, and told that it was the last time.
        while self.connections and self._loop.time() - started < IDLE_GRACE:
            await asyncio.sleep(_LOOK)
        for connection in self.connections:
            if not connection.busy:
                connection.force_close()
        while (
            any(connection.busy for connection in self.connections)
            and self._loop.time() - started < timeout
        ):
            await asyncio.sleep(_LOOK)
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
