"""One request under way on a connection: its body as it arrives, its room, its answer."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from sfss.admission import Room
from sfss.errors import InvalidRequest, Overloaded, SfssError, UploadTimeout
from sfss.http.framing import Body, ChunkedBody, LengthBody
from sfss.http.messages import CLOSE_LINE, STATUS_LINES, WITHOUT_BODY, Request, Response

if TYPE_CHECKING:
    from sfss.http.connection import Connection

log = logging.getLogger("sfss.http")

#: A body up to this size is joined to its head; a larger one is not worth the copy. Bytes.
_JOIN_BYTES = 32 * 1024
#: How often it is looked at a body that is under way, in seconds.
LOOK_INTERVAL = 0.5
#: Room for so much of a body is taken when it begins to come, and for all of it when more comes. Bytes.
_FIRST_ROOM = 64 * 1024
#: That is kept while so much arrives between two looks. Bytes.
_LEAST_PROGRESS = 32 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodySink(Protocol):
    """Takes the body of a request."""

    def feed(self, data: bytes) -> None:
        """:raises SfssError: if no more of it is wanted; :meth:`fail` is called with it."""

    def end(self) -> None:
        """It is whole."""

    def fail(self, error: SfssError) -> None:
        """It will not be whole. Nobody may be there any more to hear of it."""


class Flow(Protocol):
    """Who streams an answer."""

    def pause_writing(self) -> None:
        """The client does not take it at the moment."""

    def resume_writing(self) -> None: ...

    def connection_lost(self) -> None:
        """Nobody wants it any more."""


class Exchange(Request):
    """*connection*: None as soon as the client is gone."""

    __slots__ = (
        "_arrived",
        "_arrived_at_last_look",
        "_bytes_out",
        "_deadline",
        "_is_chunked",
        "_is_promised",
        "_most",
        "_timeout",
        "_waiter",
        "_was_promised",
        "body",
        "connection",
        "flow",
        "invites",
        "is_write",
        "more_lines",
        "route",
        "server",
        "sink",
    )

    def __init__(self, connection: "Connection", remote: str):
        Request.__init__(self, remote)
        self.connection: Connection | None = connection
        self.server = connection.server
        self.route = ""  #: what it is counted under
        self.body: Body | None = None
        self.sink: BodySink | None = None
        self.flow: Flow | None = None  #: set by who streams the answer
        self.more_lines = ""  #: headers of the answer that it has for this request's sake
        self.is_write = False  #: set by who goes on with it though the client is gone
        self.invites = False  #: the client waits for 100 Continue before it sends the body
        self._arrived = 0  # bytes of the body
        self._bytes_out = 0
        self._waiter: asyncio.Task[Any] | None = None  # for room

    def client_waits(self) -> bool:
        """Whether the client waits for an answer, as far as is known. (One that sends nothing more may only
        have closed its half. It gets an answer, but nobody knows that it wants one.)
        """
        return self.connection is not None and not self.connection.client_is_done

    # The body.

    @property
    def has_whole_body(self) -> bool:
        """Whether nothing of it is still to come; so it is without one, too."""
        return self.body is None or self.body.is_whole

    def expect_body(self) -> None:
        """The head is filled, and says that there is one."""
        self.body = ChunkedBody() if self.length is None else LengthBody(self.length)

    def receive(self, sink: BodySink, *, timeout: float, most: int) -> None:
        """Have *sink* fed with the body, which shall be whole in *timeout* seconds.

        Room for it is taken in :attr:`room`, if there is one. It is for all of the body (*most* bytes, if its
        length is not announced) while it comes fast: of many uploads at once some can end then, where all
        would wait for each other if each had room for a part. What comes slowly has room for what is there.
        """
        connection = self.connection
        if connection is None:
            return
        if self.body is None:
            sink.end()
            return
        self.sink = sink
        self._most = most
        self._timeout = timeout
        self._is_promised = self._was_promised = False
        self._arrived_at_last_look = 0
        if self.invites and not connection.rest and not self.is_http_1_0:
            connection.transport.write(_CONTINUE)
        self.invites = False
        connection.resume_reading()  # what had come before it was asked for was held back
        self.pump()
        self._stop_if_no_more_comes()
        if self.sink is not None:
            self._deadline = connection.now() + timeout
            connection.watch(LOOK_INTERVAL)

    def invite_nothing(self) -> None:
        """Send 100 Continue for an empty body, if the client has asked. It need not be (RFC 9110 10.1.1); but S3 does,
        and botocore 1.43, when it gets the answer at once, takes the next one on the connection apart wrongly.
        """
        if self.connection is not None and "expect" in self.headers and not self.is_http_1_0:
            self.connection.transport.write(_CONTINUE)

    def pump(self) -> None:
        """Take what is there of the body."""
        connection, body, sink = self.connection, self.body, self.sink
        if connection is None or body is None or sink is None:
            return
        data = connection.rest
        if data:
            if self._waiter is not None or not self._admit(len(data)):
                return
            try:
                pieces, used = body.take(data)
                connection.rest = data[used:] if used < len(data) else b""
                for piece in pieces:
                    self._arrived += len(piece)
                    sink.feed(piece)
            except SfssError as error:
                self._stop(error)
                return
        if body.is_whole:
            self.sink = None
            if self.room is not None:
                self.room.shrink(self._arrived)
            sink.end()

    def _admit(self, size: int) -> bool:
        """Whether there is room for *size* bytes more. If not, it is waited for."""
        room = self.room
        if room is None or self._is_promised:
            return True
        wanted = self._arrived + size
        whole = self.length if self.length is not None else self._most
        if wanted <= _FIRST_ROOM:
            wanted = min(whole, _FIRST_ROOM)
        elif not self._was_promised:
            self._is_promised = self._was_promised = True
            wanted = whole
        if room.try_grow(wanted):
            return True
        if self.connection is not None:
            self.connection.pause_reading()
        room.grow_anyway(self._arrived + size)  # it is here, whether there is room or not
        self._waiter = asyncio.get_running_loop().create_task(self._wait_for_room(room, wanted))
        return False

    async def _wait_for_room(self, room: Room, size: int) -> None:
        try:
            await room.grow(size)
        except Overloaded as error:
            self._waiter = None
            if self.sink is not None:
                self._stop(error)
            return
        self._waiter = None
        if self.sink is None or self.connection is None:
            room.release()
            return
        self.connection.resume_reading()
        self.pump()
        self._stop_if_no_more_comes()

    def _stop_if_no_more_comes(self) -> None:
        if self.connection is not None and self.connection.client_is_done and self._waiter is None:
            self.client_sends_no_more()

    def look(self, now: float) -> None:
        """See that the body comes in time, and let go of the room of one that comes slowly."""
        if self.sink is None or self.connection is None:
            return
        if now >= self._deadline:
            self._stop(UploadTimeout(f"The body did not arrive within {self._timeout:g} s."))
            return
        if self._waiter is None and self.room is not None:
            slow = self._arrived - self._arrived_at_last_look < _LEAST_PROGRESS
            if self._is_promised and slow:
                self._is_promised = False
                self.room.shrink(self._arrived)
            self._arrived_at_last_look = self._arrived
        self.connection.watch(LOOK_INTERVAL)

    def _stop(self, error: SfssError) -> None:
        sink, self.sink = self.sink, None
        self._stop_waiting()
        self.end_of_room()
        if sink is not None:
            sink.fail(error)

    def _stop_waiting(self) -> None:
        """For room."""
        if self._waiter is not None:
            self._waiter.cancel()
            self._waiter = None
            if self.connection is not None:
                self.connection.resume_reading()

    # The answer.

    def respond(self, response: Response) -> None:
        """Answer, and be done. Once; if nobody is there any more, that is all the same."""
        connection = self.connection
        if connection is None:
            self.end_of_room()
            return
        self.id = self.id or self.server.handler.new_id()
        close = self._closes(connection, response.close)
        try:
            self._write(connection, response, close)
        except Exception:  # a fault of ours: the client shall not wait for ever for what does not come
            log.exception("the answer cannot be sent", extra={"request_id": self.id})
            connection.transport.abort()
            self.end_of_room()
            return
        self._done(connection, response.status, close)

    def _write(self, connection: "Connection", response: Response, close: bool) -> None:
        has_body = self.method != "HEAD" and response.status not in WITHOUT_BODY
        head = self.server.head(response, self.id, self.more_lines, self._connection_line(close))
        body = response.body
        if has_body and body:
            if len(body) <= _JOIN_BYTES:
                connection.transport.write(head + body)
            else:
                connection.transport.writelines((head, body))
            self._bytes_out = len(head) + len(body)
        else:
            connection.transport.write(head)
            self._bytes_out = len(head)

    def fail(self, error: Exception) -> None:
        """Answer with what is to be said of *error*. A fault of ours is logged, even if no client waits."""
        self.id = self.id or self.server.handler.new_id()
        self.respond(self.server.handler.refusal(error, self.id))

    def begin_answer(self, status: int, lines: str, length: int | None) -> None:
        """Begin an answer whose body comes by :meth:`send`, with :meth:`finish` behind it.

        *lines*: all its headers, but for those that frame it. *length* of the body, None: nobody knows.
        """
        connection = self.connection
        if connection is None:
            return
        self._is_chunked = False
        if status in WITHOUT_BODY:
            framing = ""
        elif length is not None:
            framing = f"Content-Length: {length}\r\n"
        elif self.is_http_1_0:
            self.keep_alive = False  # its end is that of the connection
            framing = ""
        else:
            self._is_chunked = self.method != "HEAD"
            framing = "Transfer-Encoding: chunked\r\n"
        # The body of the request may still be coming, and be wanted.
        self.keep_alive = self.keep_alive and not self.server.draining and not connection.client_is_done
        unknown = f"HTTP/1.1 {status} \r\n"  # to us; the application may know it
        head = (
            f"{STATUS_LINES.get(status) or unknown}{lines}{framing}"
            f"{self._connection_line(not self.keep_alive)}\r\n"
        ).encode("utf-8", "surrogateescape")
        self._bytes_out = len(head)
        connection.transport.write(head)

    def own_lines(self) -> str:
        """The headers that all answers have, for :meth:`begin_answer`."""
        self.id = self.id or self.server.handler.new_id()
        server = self.server
        return f"{self.more_lines}{server.common_lines}X-Request-ID: {self.id}\r\n{server.date_line()}"

    def send(self, data: bytes | memoryview) -> None:
        connection = self.connection
        if connection is None or not data or self.method == "HEAD":
            return
        if self._is_chunked:
            connection.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            connection.transport.write(data)
        self._bytes_out += len(data)

    def finish(self, status: int) -> None:
        """The body of the answer is whole."""
        connection = self.connection
        if connection is None:
            self.end_of_room()
            return
        if self._is_chunked:
            connection.transport.write(b"0\r\n\r\n")
        self._done(connection, status, self._closes(connection, False))

    def cut_off(self) -> None:
        """An answer that has begun will not be whole: only the end of the connection can tell that."""
        if self.connection is not None:
            self.connection.transport.abort()

    def _closes(self, connection: "Connection", wanted: bool) -> bool:
        """Whether the connection ends behind the answer."""
        close = wanted or not self.keep_alive or self.server.draining
        if not self.has_whole_body:
            self.sink = None
            self._stop_waiting()
            # Whether a client that was not invited still sends the body is its own choice.
            close = close or self.invites or not connection.can_skip(self)
        return close or (connection.client_is_done and not connection.rest)

    def _connection_line(self, close: bool) -> str:
        if close:
            return CLOSE_LINE
        return "Connection: keep-alive\r\n" if self.is_http_1_0 else ""

    def _done(self, connection: "Connection", status: int, close: bool) -> None:
        self.server.handler.answered(self, status, self._arrived, self._bytes_out)
        self.connection = None
        connection.answered(self, close)

    def end_of_room(self) -> None:
        if self.room is not None:
            self.room.release()

    def client_has_gone(self) -> None:
        """The connection is lost. A write goes on, and keeps its room until it is done."""
        self.connection = None
        if self.sink is not None:
            self._stop(InvalidRequest("The connection was closed before the body was whole."))
        elif not self.is_write:
            self.end_of_room()
        if self.flow is not None:
            self.flow.connection_lost()

    def client_sends_no_more(self) -> None:
        """The rest of the body will not come."""
        if self.sink is not None:
            self._stop(InvalidRequest("The connection was closed before the body was whole."))
