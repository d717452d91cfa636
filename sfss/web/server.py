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
from sfss.settings import Settings
from sfss.web.access import Access
from sfss.web.app import make_app
from sfss.web.errors import error_response, problem
from sfss.web.fastpath import PlainRequest, file_head, plain_request, response_bytes
from sfss.web.files import created, updated
from sfss.web.request_ids import RequestIds
from sfss.web.telemetry import Telemetry

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
    under way, or the client does not read what it is sent, what arrives is held back, and goes the
    usual way later.
    """

    __slots__ = (
        "_answers",
        "_at_boundary",
        "_client_is_done",
        "_given",
        "_head_size",
        "_held",
        "_plain",
        "_send_watch",
        "_untouched",
        "_wire",
    )

    def __init__(self, manager: "Server", **options):
        super().__init__(manager, **options)
        self._wire: asyncio.Transport | None = None  # until the connection is really gone
        self._client_is_done = False  # it sends nothing more, but may still read
        self._answers = 0  # so far
        self._send_watch: asyncio.TimerHandle | None = None
        self._untouched = True  # aiohttp was given nothing yet
        self._at_boundary = True  # the next byte begins a request
        self._head_size = 0  # of the request that aiohttp has; under 4: not known
        self._given = 0  # bytes that aiohttp was given since the boundary
        self._plain: "_Plain | None" = None  # under way
        self._held = b""

    @property
    def busy(self) -> bool:
        """Whether a request is under way: its head has arrived, and its answer is not yet sent."""
        if self._wire is None:
            return False
        return (
            self._plain is not None
            or not self._is_waiting()
            or self._wire.get_write_buffer_size() > 0
        )

    def _is_waiting(self) -> bool:
        """Whether aiohttp has nothing to do but to wait for a request."""
        # (Its task begins a moment after the connection; nothing is under way before that.)
        return self._untouched or (self._waiter is not None and not self._waiter.done())

    def data_received(self, data: bytes) -> None:
        if self._close or self._force_close:
            return
        if self._plain is not None or (self._paused and self._at_boundary and self._is_waiting()):
            self._held += data
            if len(self._held) > _HELD_BYTES:
                self.transport.pause_reading()
            return
        if self._at_boundary:
            if self._is_waiting() and self._begin(data):
                return
            self._at_boundary = False
            self._given = 0
            # A head that comes in pieces is not measured: such a connection stays with aiohttp.
            self._head_size = data.find(b"\r\n\r\n") + 4
        self._untouched = False
        self._given += len(data)
        super().data_received(data)

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
        self._plain = None
        if self.transport is None:
            return  # closed from our side
        if len(body) <= _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._answers += 1
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
        if plain.close or (self._client_is_done and not self._held):
            self.force_close()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """What was held back has its turn."""
        if self._held and not self._paused and self.transport is not None:
            held, self._held = self._held, b""
            if len(held) > _HELD_BYTES:
                self.transport.resume_reading()
            self.data_received(held)
            if self._client_is_done and not self.busy:
                self.force_close()  # what is left was no whole request, and no more will come

    async def finish_response(self, request, resp, start_time):
        """aiohttp sends an answer; afterwards it may have nothing left."""
        draining = self._manager is not None and self._manager.draining
        if draining or (self._client_is_done and not self._messages):
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        self._answers += 1
        if self._client_is_done and not self._messages:
            self.close()  # it may have said so while it was sent the answer
        if isinstance(resp, web.Response):
            resp.body = None  # aiohttp keeps the answer until the next request comes, if ever
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

    # The life of the connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport
        super().connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        self._wire = None
        self._plain = None
        self._held = b""
        if self._send_watch is not None:
            self._send_watch.cancel()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        """The client sends nothing more. If it has asked for something, it shall have the answer."""
        self._client_is_done = True
        if self._plain is not None or self._held:
            return True
        if self._is_waiting() and not self._messages:
            return False
        request = self._current_request
        if request is not None:
            return request.content.is_eof()  # the rest of its body will not come
        return True

    def pause_writing(self) -> None:
        """The client does not take what it is sent: not for ever."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_watch is not None:
            self._send_watch.cancel()
            self._send_watch = None
        self._go_on()

    def _watch_sending(self) -> None:
        if self._send_watch is not None:
            self._send_watch.cancel()
        self._send_watch = self._loop.call_later(
            self._manager.send_timeout,
            self._cut_off_if_stalled,
            self._wire.get_write_buffer_size(),
            self._answers,
        )

    def _cut_off_if_stalled(self, left_before: int, answers_before: int) -> None:
        self._send_watch = None
        left = self._wire.get_write_buffer_size() if self._wire is not None else 0
        if left == 0:
            return
        if left < left_before or self._answers != answers_before:
            self._watch_sending()
        else:
            self._wire.abort()  # close would wait until all is sent

    def _process_keepalive(self) -> None:
        if self._plain is not None or (self._wire and self._wire.get_write_buffer_size()):
            # aiohttp believes that it is idle
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            if self._plain is None and self._send_watch is None:
                self._watch_sending()  # too little is left for pause_writing to be called
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
    """A plain request under way: what the store calls back (:class:`sfss.receivers.Receiver`)."""

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
        self.close = self.close or response.keep_alive is False
        data = response_bytes(response, self.request_id, close=self.close)
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
        send_timeout: float,
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
        self.send_timeout = send_timeout
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
    """Runs *app* on a :class:`Server`. *options* are those of :class:`aiohttp.web.AppRunner`.

    *send_timeout*: seconds in which a client must take some of what it is sent.
    """

    def __init__(
        self,
        app: web.Application,
        service: FileService,
        access: Access,
        request_ids: RequestIds,
        *,
        send_timeout: float,
        **options,
    ):
        super().__init__(
            app,
            access_log_class=access.aiohttp_class(),
            lingering_time=LINGERING_TIME,
            auto_decompress=False,  # a file is kept as it is sent
            **options,
        )
        self._parts = (service, access, request_ids, send_timeout)

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        return Server(server, *self._parts, **server._kwargs)


def make_runner(service: FileService, settings: Settings) -> Runner:
    """All that serves *service* over HTTP, put together as *settings* say."""
    telemetry, request_ids = Telemetry(), RequestIds()
    return Runner(
        make_app(service, settings, telemetry, request_ids),
        service,
        Access(telemetry, write_lines=settings.access_log),
        request_ids,
        send_timeout=settings.send_timeout,
        keepalive_timeout=settings.keepalive_timeout,
        shutdown_timeout=settings.drain_timeout,
    )
