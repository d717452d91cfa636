"""aiohttp's server, with five things of our own:

* the plain requests for a file are answered at once (:mod:`sfss.web.fastpath`);
* a shutdown cuts nothing off. aiohttp 3.14 drops what arrives of a body once shutdown has
  begun (``RequestHandler.close`` and ``shutdown`` make ``data_received`` deaf), so an upload
  under way would never end. Here the requests under way end first, each answered with
  ``Connection: close``, and idle connections are closed a moment later;
* what is not HTTP gets its error in our form;
* no client can take for ever, neither to send the head of a request nor to take its answer;
* some descriptors are kept back from clients, for the files that those who are here ask for.
"""

import asyncio
import logging
import os
import resource
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import perf_counter
from typing import NamedTuple

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sfss.admission import SMALL
from sfss.errors import NotFound, Overloaded, SfssError, UploadTimeout
from sfss.figures import Family, gauge
from sfss.models import FileInfo, StoredFile
from sfss.panel import Panel
from sfss.service import FileService
from sfss.settings import ServerSettings
from sfss.web.access import Access
from sfss.web.app import common_headers, make_app
from sfss.web.cors import Cors
from sfss.web.doors import Doors
from sfss.web.errors import error_response, http_exception_response, problem
from sfss.web.fastpath import Heads, PlainRequest
from sfss.web.request_ids import RequestIds
from sfss.web.telemetry import Telemetry

log = logging.getLogger("sfss.web")

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
#: Descriptors that clients do not get, and those beyond which a client is not even told so.
_KEPT_BACK = 128
_KEPT_FOR_REFUSALS = 32
#: How long a client that is refused has to send its request, in seconds.
_REFUSAL_TIME = 1.0
#: So much is encrypted at once.
_TLS_BYTES = 64 * 1024


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
        "_finished",
        "_finishing",
        "_given",
        "_head_began",
        "_head_size",
        "_head_watch",
        "_held",
        "_plain",
        "_refused",
        "_send_watch",
        "_unsent",
        "_untouched",
        "_wire",
    )

    def __init__(self, manager: "Server", **options):
        super().__init__(manager, **options)
        self._wire: asyncio.Transport | None = None  # until the connection is really gone
        self._client_is_done = False  # it sends nothing more, but may still read
        self._answers = 0  # so far
        self._finished = 0  # those of them that aiohttp gave
        self._finishing = False  # aiohttp is sending one
        self._send_watch: asyncio.TimerHandle | None = None
        self._head_began = False  # a part of a head has come
        self._head_watch: asyncio.TimerHandle | None = None  # while a head is to come
        self._unsent = 0  # bytes that the admission knows of
        self._untouched = True  # aiohttp was given nothing yet
        self._at_boundary = True  # the next byte begins a request
        self._head_size = 0  # of the request that aiohttp has; under 4: not known
        self._given = 0  # bytes that aiohttp was given since the boundary
        self._plain: "_Plain | None" = None  # under way
        self._refused = False  # there are too many connections: it gets 503, whatever it wants
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
        if self._refused:
            self._answer_error(Overloaded("The server has too many connections. Try again in a second."))
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
        self._watch_head()

    def _begin(self, data: bytes) -> bool:
        """Begin to answer *data*, if it is a plain request and the store is ready for it."""
        server = self._manager
        request = server.plain_request(data)
        service, doors = server.service, server.doors
        if request is None or not doors.allows_host(request.host):
            return False
        if request.method == "GET":
            if not doors.reads_open:
                return False
            plain = _PlainGet(self, request, SMALL)
            begin = service.begin_get
        else:
            if not doors.writes_open:
                return False
            plain = _PlainPut(self, request, len(request.body))
            begin = service.begin_put
        if not service.admission.try_take(plain.taken, upload=plain.is_upload):
            return False  # aiohttp's way, there it can wait
        self._plain = plain
        begun = begin(request.path, *plain.arguments, plain)
        if not begun:
            self._plain = None
            plain.give_back()
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
        request, access = plain.request, self._manager.access
        seconds = perf_counter() - plain.started
        bytes_in, bytes_out = len(request.body), len(head) + len(body)
        access.count(request.resource, request.method, status, bytes_in, bytes_out, seconds)
        if access.writes_lines:
            access.write_line(
                method=request.method,
                target=request.target,
                status=status,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                seconds=seconds,
                peer=self.peername[0] if self.peername else None,
                forwarded=request.forwarded,
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
        if isinstance(resp, web.HTTPException) and self._manager is not None:
            # aiohttp's own, of before the application: an Expect that nobody knows.
            resp = http_exception_response(resp)
            resp.headers.update(self._manager.common_headers)
            resp.headers["X-Request-ID"] = self._manager.request_ids.new()
            resp.force_close()
        draining = self._manager is not None and self._manager.draining
        if draining or (self._client_is_done and not self._messages):
            resp.force_close()
        self._finishing = True
        try:
            finished = await super().finish_response(request, resp, start_time)
        finally:
            self._finishing = False
            self._finished += 1
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
        if transport.get_extra_info("ssl_object") is not None:
            transport = _InPieces(transport)
        super().connection_made(transport)
        patience = self._keepalive_timeout
        if self._manager.has_too_many():
            self._refused = True
            patience = _REFUSAL_TIME
            if self._manager.has_too_many(_KEPT_FOR_REFUSALS):
                patience = 0.0
        self._head_watch = self._loop.call_later(patience, self._nothing_came)

    def connection_lost(self, error: BaseException | None) -> None:
        self._wire = None
        if self._plain is not None:
            plain, self._plain = self._plain, None
            plain.client_has_gone()
        self._held = b""
        for watch in (self._send_watch, self._head_watch):
            if watch is not None:
                watch.cancel()
        self._note_unsent(0)
        super().connection_lost(error)

    def _nothing_came(self) -> None:
        self._head_watch = None
        if self._untouched and not self._answers and self._plain is None:
            self.force_close()

    def _watch_head(self) -> None:
        """aiohttp was given bytes. If they are not yet a request, the rest must come in time."""
        if self._request_count != self._finished:  # it has one
            self._head_began = False
            if self._head_watch is not None:
                self._head_watch.cancel()
                self._head_watch = None
        elif not self._head_began:
            self._head_began = True
            if self._head_watch is not None:
                self._head_watch.cancel()
            self._head_watch = self._loop.call_later(
                self._manager.header_timeout, self._head_is_late
            )

    def _head_is_late(self) -> None:
        self._head_watch = None
        if self._request_count == self._finished and self.transport is not None:
            self._answer_error(
                UploadTimeout("The head of the request did not arrive in time."),
                seconds=self._manager.header_timeout,
            )

    def _answer_error(self, error: SfssError, seconds: float = 0.0) -> None:
        """Answer whatever has come with *error*, and close. *seconds*: that it took."""
        server = self._manager
        answer = error_response(error)
        data = server.heads.whole(answer, server.request_ids.new(), close=True)
        self.transport.write(data)
        server.access.count("other", "other", answer.status, 0, len(data), seconds)
        self.force_close()

    def client_waits(self) -> bool:
        """Whether the client waits for an answer, as far as is known. (One that sends nothing more may only have
        closed its half. It gets an answer, but nobody knows that it wants one.)
        """
        return self._wire is not None and not self._client_is_done

    def eof_received(self) -> bool:
        """The client sends nothing more. If it has asked for something, it shall have the answer."""
        self._client_is_done = True
        if self._wire is None or self._wire.get_extra_info("ssl_object") is not None:
            return False  # TLS has no half of a connection that could stay open
        if self._plain is not None or self._held:
            return True
        return self._can_be_answered()

    def _can_be_answered(self) -> bool:
        """Whether there is something that a client which sends no more can still be told."""
        if self._messages:
            return self._messages[-1][1].is_eof()
        if self._current_request is not None:
            return self._current_request.content.is_eof()  # the rest of its body will not come
        if self._finishing:
            return True
        if self._request_count != self._finished:
            # aiohttp has just taken it off the queue; a moment later it is the current one.
            self._loop.call_soon(self._end_unless_it_can_be_answered)
            return True
        if self._is_waiting():
            return False
        self.close()  # it has just been answered
        return True

    def _end_unless_it_can_be_answered(self) -> None:
        if self._wire is not None and not self._can_be_answered():
            self.force_close()

    def pause_writing(self) -> None:
        """The client does not take what it is sent: not for ever."""
        super().pause_writing()
        self._watch_sending()
        self._note_unsent(self._wire.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note_unsent(0)
        if self._send_watch is not None:
            self._send_watch.cancel()
            self._send_watch = None
        self._go_on()

    def _note_unsent(self, size: int) -> None:
        """Let the admission know that so many bytes wait for the client."""
        before, self._unsent = self._unsent, size
        admission = self._manager.service.admission if self._manager is not None else None
        if admission is not None and size > before:
            admission.hold(size - before)
        elif admission is not None and size < before:
            admission.release(before - size)

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
        response.headers.update(self._manager.common_headers)
        response.headers["X-Request-ID"] = self._manager.request_ids.new()
        response.force_close()
        return response


class _InPieces:
    """A transport over TLS that is never given much at once.

    Its buffers grow to the largest write, and keep that for as long as the connection lives:
    measured, 2.4 MB for each client that was ever sent 2 MB.
    """

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport

    def __getattr__(self, name: str):
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _TLS_BYTES):
            self._transport.write(data[start : start + _TLS_BYTES])

    def writelines(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.write(piece)


class _Plain:
    """A plain request under way: what the store calls back (:class:`sfss.receivers.Receiver`)."""

    __slots__ = ("close", "connection", "request", "request_id", "server", "started", "taken")

    is_upload = False

    def __init__(self, connection: ClientConnection, request: PlainRequest, taken: int):
        self.connection = connection
        self.server = connection._manager  # the connection forgets it when it closes
        self.request = request
        self.started = perf_counter()
        self.request_id = ""
        self.close = False
        self.taken = taken  # bytes, from the admission

    @property
    def arguments(self) -> tuple:
        """What the store needs besides the path."""
        return ()

    def done(self) -> bool:
        return self.connection._plain is not self

    def client_has_gone(self) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Let the admission have what was taken from it."""
        taken, self.taken = self.taken, 0
        self.server.service.admission.release(taken, upload=self.is_upload)

    def set_exception(self, error: SfssError) -> None:
        self.give_back()
        self._respond(error_response(error))

    def _respond(self, response: web.Response) -> None:
        if self.connection._plain is not self:
            return  # nobody waits any more
        self._decide()
        self.close = self.close or response.keep_alive is False
        data = self.server.heads.whole(response, self.request_id, close=self.close)
        self.connection.answer(self, response.status, data)

    def _decide(self) -> None:
        """What is the same for every answer."""
        self.request_id = self.server.request_ids.new()
        self.close = self.server.draining


class _PlainGet(_Plain):
    __slots__ = ()

    def set_result(self, file: StoredFile | None) -> None:
        if file is None:
            self.set_exception(NotFound.of(self.request.path))
            return
        admission = self.server.service.admission
        more = admission.excess(len(file.content))
        if not more or admission.try_take(more):
            self.taken += more
            self._send(file)
        else:
            self.server.keep(asyncio.create_task(self._send_when_there_is_room(file, more)))

    async def _send_when_there_is_room(self, file: StoredFile, more: int) -> None:
        try:
            async with self.server.service.admission.room(more):
                if not self.done():
                    self._send(file)
        except Overloaded as error:
            if not self.done():
                self.set_exception(error)

    def _send(self, file: StoredFile) -> None:
        self.give_back()
        self._decide()
        head = self.server.heads.of_file(
            self.request.path, file, self.request_id, close=self.close
        )
        self.connection.answer(self, 200, head, file.content)


class _PlainPut(_Plain):
    """Is done when the store is, even if nobody waits any more: until then its body takes memory."""

    __slots__ = ("_is_done",)

    is_upload = True

    def __init__(self, connection: ClientConnection, request: PlainRequest, taken: int):
        super().__init__(connection, request, taken)
        self._is_done = False

    @property
    def arguments(self) -> tuple:
        return (self.request.body,)

    def done(self) -> bool:
        return self._is_done

    def client_has_gone(self) -> None:
        """The write goes on, but is not tried again."""

    def is_waited_for(self) -> bool:
        return self.connection.client_waits()

    def give_back(self) -> None:
        self._is_done = True
        super().give_back()

    def set_result(self, info: FileInfo) -> None:
        self.give_back()
        self._respond(self.server.written(self.request, info))


class Surface(NamedTuple):
    """What a server looks like from outside."""

    routes: list[web.RouteDef]  #: the first that fits has the request
    plain_request: Callable[[bytes], PlainRequest | None]  #: see fastpath.py
    lines_of_file: Callable[[str, StoredFile], str]  #: in the head of an answer: of a path and its file
    written: Callable[[PlainRequest, FileInfo], web.Response]  #: the answer to a write that happened
    of_files: tuple[tuple[str, str], ...]  #: the routes of files, each with its method
    nodes_path: str | None = None  #: where other nodes send to


class Parts(NamedTuple):
    """What a connection needs besides its bytes. Times in seconds."""

    service: FileService
    surface: Surface
    doors: Doors
    access: Access
    common_headers: dict[str, str]
    request_ids: RequestIds
    send_timeout: float  #: in which a client must take some of what it is sent
    header_timeout: float  #: in which the head of a request must be whole


class Server(web.Server):
    """All clients' connections."""

    def __init__(self, aiohttp_server: web.Server, parts: Parts, **options):
        super().__init__(
            aiohttp_server.request_handler,
            request_factory=aiohttp_server.request_factory,
            **options,
        )
        self.service = parts.service
        self.doors = parts.doors
        self.access = parts.access
        self.common_headers = parts.common_headers
        self.plain_request = parts.surface.plain_request
        self.written = parts.surface.written
        self.heads = Heads(parts.common_headers, parts.surface.lines_of_file)
        self.request_ids = parts.request_ids
        self.send_timeout = parts.send_timeout
        self.header_timeout = parts.header_timeout
        self.draining = False
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
        self._most_connections = descriptors - used - min(_KEPT_BACK, descriptors // 4)
        self._told_too_many = False
        self._tasks: set[asyncio.Task] = set()

    def has_too_many(self, more: int = 0) -> bool:
        """Whether there are more connections than clients may have, and *more*."""
        # (Not self.connections: that makes a list of all of them, for each one that comes.)
        too_many = len(self._connections) > self._most_connections + more
        if too_many and not self._told_too_many:
            log.error(
                "too many connections: new ones get 503 (raise LimitNOFILE, or ulimit -n)",
                extra={"connections": len(self._connections)},
            )
        self._told_too_many = too_many or (self._told_too_many and more > 0)
        return too_many

    def keep(self, task: asyncio.Task) -> None:
        """Hold on to *task* until it is done; the loop itself would not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def families(self) -> list[Family]:
        connections = self.connections
        open_ones = gauge("sfss_connections", "Open connections of clients")
        open_ones.add((), len(connections))
        busy = gauge("sfss_requests_in_flight", "Requests under way")
        busy.add((), sum(connection.busy for connection in connections))
        return [open_ones, busy]

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

    def __init__(self, app: web.Application, parts: Parts, panel: Panel, **options):
        super().__init__(
            app,
            access_log_class=parts.access.aiohttp_class(),
            lingering_time=LINGERING_TIME,
            auto_decompress=False,  # a file is kept as it is sent
            **options,
        )
        self.doors = parts.doors
        self._parts = parts
        self._panel = panel

    async def _make_server(self) -> Server:
        aiohttp_server = await super()._make_server()
        server = Server(aiohttp_server, self._parts, **aiohttp_server._kwargs)
        self._panel.add_source(server.families)
        return server


def assemble(
    surface: Surface,
    service: FileService,
    settings: ServerSettings,
    doors: Doors,
    cors: Cors,
    panel: Panel,
) -> Runner:
    """All that serves *service* over HTTP at the URLs of *surface*, as *settings* say."""
    telemetry, request_ids = Telemetry(panel.started, surface.of_files), RequestIds()
    panel.add_source(telemetry.families)
    panel.add_source(service.families)
    panel.add_history(service.history)
    parts = Parts(
        service,
        surface,
        doors,
        Access(
            telemetry, doors, write_lines=settings.access_log, quiet=surface.nodes_path
        ),
        common_headers(cors),
        request_ids,
        send_timeout=settings.send_timeout,
        header_timeout=settings.header_timeout,
    )
    return Runner(
        make_app(surface.routes, doors, cors, panel, request_ids),
        parts,
        panel,
        keepalive_timeout=settings.keepalive_timeout,
        shutdown_timeout=settings.drain_timeout,
    )
