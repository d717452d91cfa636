"""One client's connection: requests in their order, time limits, flow control.

What keeps it simple:

* One request is under way at a time. What comes behind it stays in :attr:`Connection.rest`, as bytes, and is
  looked at when the answer is given; until then no more is read.
* The buffer of the transport is empty, or the connection waits: while a client does not take its answer, no
  other one is given, and the room of that answer is not given back.
* One timer, which looks at what the connection is doing when it fires. Nothing is set up for a request that is
  whole, and answered at once.

The module is long because order, time limits and flow control share the state of the connection.
"""

import asyncio
import contextlib
import fcntl
import sys
import termios
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sfss.admission import Room
from sfss.errors import Overloaded, SfssError, UploadTimeout
from sfss.http.exchange import Exchange
from sfss.http.framing import HeadParser, LengthBody, head_size

if TYPE_CHECKING:
    from sfss.http.server import Server

#: A body that nobody wants is read over, if there is no more left of it than that. Bytes.
_SKIPPED_BYTES = 64 * 1024
#: For so long (seconds), while more of it comes.
_SKIPPING_TIME = 10.0
#: How long the client has to stop sending a body that nobody wants (seconds): a connection that is closed
#: with unread bytes resets, and the client may never see the answer.
_LINGERING_TIME = 2.0
#: How long a client that is refused has to send its request, in seconds.
_REFUSAL_TIME = 1.0
#: How often it is looked whether a client takes its answer, in seconds. One that took nothing between two looks
#: is cut off when others wait for room.
_SEND_LOOK = 1.0
#: So much is encrypted at once. Bytes.
_TLS_BYTES = 64 * 1024

#: A part of an answer. (Compiled, a function takes what its types say, and nothing else.)
Piece = bytes | bytearray | memoryview


class Connection:
    """An :class:`asyncio.Protocol` (but by its base class: a compiled one has none).

    *is_refused*: there are too many: it gets 503, whatever it wants.
    """

    __slots__ = (
        "_deadline",
        "_exchange",
        "_heads",
        "_is_deaf",
        "_is_paused",
        "_is_reading",
        "_is_refused",
        "_is_stuck",
        "_known",
        "_left",
        "_loop",
        "_remote",
        "_room",
        "_since",
        "_timer",
        "client_is_done",
        "rest",
        "server",
        "transport",
    )

    def __init__(self, server: "Server", *, is_refused: bool = False):
        self.server = server
        self.transport: Any = None  #: an :class:`asyncio.Transport`; None before and after
        self.rest = b""  #: what has come, and is not looked at yet
        self.client_is_done = False  #: it sends nothing more, but may still read
        self._loop = server.loop
        self._heads = HeadParser()
        self._exchange: Exchange | None = None  # under way, or its body is read over
        self._room: Room | None = None  # of the answer that the client has not taken yet
        self._remote = ""
        self._is_refused = is_refused
        self._is_deaf = False  # the last answer is given: what comes now is of no interest
        self._is_paused = False  # no more is read
        self._is_stuck = False  # the client does not take what it is sent
        self._is_reading = False  # in _read, which goes on by itself
        self._known = 0  # of rest: no head ends in so many bytes
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0  # when it became idle, or the head began, on the loop's clock
        self._left = 0  # what the client had not taken at the last look

    @property
    def busy(self) -> bool:
        """Whether a request is under way: its head has arrived, and its answer is not yet sent."""
        return self._exchange is not None or self._is_stuck

    def now(self) -> float:
        return self._loop.time()

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        # See the module. (Over TLS, both asyncio and uvloop take a buffer for full that has as much as the limit.)
        if transport.get_extra_info("ssl_object") is not None:
            self.transport = InPieces(transport)
            transport.set_write_buffer_limits(high=1, low=0)
        else:
            self.transport = transport
            transport.set_write_buffer_limits(high=0)
        remote = transport.get_extra_info("peername")
        self._remote = remote[0] if isinstance(remote, tuple) else ""
        self._since = self.now()
        self.server.add(self)
        self.watch(_REFUSAL_TIME if self._is_refused else self.server.keepalive_timeout)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self.rest:
            data = self.rest + data
        self.rest = data
        exchange = self._exchange
        if exchange is None:
            if not self._is_stuck:
                self._read()
                return
        elif exchange.sink is not None:
            exchange.pump()
            return
        elif exchange.connection is None:
            self._skip(exchange)
            return
        self.pause_reading()  # what is here already takes memory that nobody has counted

    def eof_received(self) -> bool:
        """The client sends nothing more. If it has asked for something, it shall have the answer."""
        self.client_is_done = True
        if self.transport.get_extra_info("ssl_object") is not None:
            return False  # TLS has no half of a connection that could stay open
        exchange = self._exchange
        if exchange is not None:
            if exchange.connection is None:
                return False  # the body of a request that is answered is cut off
            exchange.client_sends_no_more()
            return self.transport is not None
        return self._is_stuck

    def connection_lost(self, error: BaseException | None) -> None:
        self.server.remove(self)
        self._is_deaf = True
        self.rest = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._give_room_back()
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.connection is not None:
            exchange.client_has_gone()
        self.transport = None

    def pause_writing(self) -> None:
        """The client does not take what it is sent: not for ever."""
        self._is_stuck = True
        self._left = self._not_taken()
        self._deadline = self.now() + self.server.send_timeout
        if self._exchange is None or self._exchange.sink is None:
            self.watch(min(_SEND_LOOK, self.server.send_timeout))
        if self._exchange is not None and self._exchange.flow is not None:
            self._exchange.flow.pause_writing()

    def resume_writing(self) -> None:
        self._is_stuck = False
        self._give_room_back()
        exchange = self._exchange
        if exchange is not None and exchange.flow is not None:
            exchange.flow.resume_writing()
        elif exchange is None and not self._is_deaf and self.transport is not None:
            self._since = self.now()
            self._go_on()

    # Requests.

    def _read(self) -> None:
        """Begin with the requests in :attr:`rest`, for as long as each is answered at once."""
        self._is_reading = True
        try:
            while self._exchange is None and self.rest and not self._is_stuck and not self._is_deaf:
                if not self._begin():
                    break
        finally:
            self._is_reading = False

    def _begin(self) -> bool:
        """Begin with the next request. False: its head is not whole yet, or it is none."""
        data = self.rest
        if data[0] in b"\r\n":
            data = self.rest = data.lstrip(b"\r\n")
            self._known = 0
            if not data:
                return False
        if self._is_refused:
            self.refuse(Overloaded("The server has too many connections. Try again in a second."))
            return False
        try:
            size = head_size(data, self._known)
            if not size:
                if not self._known:
                    self._since = self.now()
                    self.watch(self.server.header_timeout)
                self._known = len(data)
                return False
            self._known = 0
            exchange = Exchange(self, self._remote)
            if size == len(data):
                self.rest = b""
                self._heads.parse(data, exchange)
            else:
                self.rest = data[size:]
                self._heads.parse(data[:size], exchange)
        except SfssError as error:
            self.refuse(error)
            return False
        if exchange.has_body:
            exchange.expect_body()
        self._exchange = exchange
        self.server.begin(exchange)
        return True

    def refuse(self, error: SfssError, *, seconds: float = 0.0) -> None:
        """Answer whatever has come with *error*, and close. *seconds*: that it took."""
        self.rest = b""
        data = self.server.refusal(error, seconds)
        self.transport.write(data)
        self._end(lingers=True)

    def answered(self, exchange: Exchange, close: bool) -> None:
        """The answer of *exchange* is given to the transport."""
        if self._is_stuck:
            self._room = exchange.room
        elif exchange.room is not None:
            exchange.room.release()
        if close:
            self._exchange = None
            self._end(lingers=not exchange.has_whole_body)
            return
        if not exchange.has_whole_body:
            self.watch(_LINGERING_TIME)
            self._since = self.now()
            return
        self._exchange = None
        self._since = self.now()
        if not self._is_reading:
            self._go_on()

    def can_skip(self, exchange: Exchange) -> bool:
        """Whether the rest of a body that nobody wants is read over. (What is here of it is gone then.)"""
        body = exchange.body
        if not isinstance(body, LengthBody) or body.left > _SKIPPED_BYTES:
            return False
        _, used = body.take(self.rest)
        self.rest = self.rest[used:]
        return True

    def _skip(self, exchange: Exchange) -> None:
        """Read over the body of a request that has been answered."""
        if not self.can_skip(exchange):
            return
        if exchange.has_whole_body:
            self._exchange = None
            self._go_on()
        elif self.now() - self._since < _SKIPPING_TIME:
            self.watch(_LINGERING_TIME)

    def _go_on(self) -> None:
        """What was held back has its turn."""
        if self._is_paused:
            self.resume_reading()
        if self._timer is None:
            self.watch(self.server.keepalive_timeout)
        if self.rest and not self._is_stuck:
            self._read()
        if self.client_is_done and self._exchange is None and not self._is_stuck and not self._is_deaf:
            self._end()  # what is left was no whole request, and no more will come

    def _end(self, *, lingers: bool = False) -> None:
        """The last answer is given. *lingers*: the client may still be sending."""
        self._is_deaf = True
        self.rest = b""
        if self._is_paused:
            self.resume_reading()
        if self.transport is None:
            return
        if not lingers or self.client_is_done:
            self.transport.close()  # when all is sent
            return
        if self.transport.can_write_eof() and not self._is_stuck:
            self.transport.write_eof()
        self._since = self.now()
        self.watch(_LINGERING_TIME)

    # Flow.

    def pause_reading(self) -> None:
        if not self._is_paused and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused and self.transport is not None and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()

    def _give_room_back(self) -> None:
        if self._room is not None:
            self._room.release()
            self._room = None

    # Time.

    def watch(self, delay: float) -> None:
        """Look at the connection in *delay* seconds, and not before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.transport is None:
            return
        now, exchange = self.now(), self._exchange
        if exchange is not None and exchange.sink is not None:
            exchange.look(now)
        elif self._is_stuck:
            self._look_at_sending(now)
        elif self._is_deaf or (exchange is not None and exchange.connection is None):
            self.transport.abort()  # it has had its time to stop sending
        elif exchange is not None:
            self.watch(self.server.keepalive_timeout)  # the store has its own time limits
        elif self._known:
            self._look_at_head(now)
        else:
            limit = _REFUSAL_TIME if self._is_refused else self.server.keepalive_timeout
            if self.server.draining or now - self._since >= limit:
                self.transport.close()
            else:
                self.watch(self._since + limit - now)

    def _look_at_head(self, now: float) -> None:
        limit = self.server.header_timeout
        if now - self._since < limit:
            self.watch(self._since + limit - now)
            return
        self.refuse(UploadTimeout("The head of the request did not arrive in time."), seconds=limit)

    def _not_taken(self) -> int:
        """How many bytes the client has still to take: ours, and what the kernel holds for it (tcp(7), SIOCOUTQ).
        A steady reader lets us write in large steps only.
        """
        size: int = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            count = bytearray(4)
            with contextlib.suppress(OSError):
                fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
            size += int.from_bytes(count, sys.byteorder)
        return size

    def _look_at_sending(self, now: float) -> None:
        """See that the client takes its answer."""
        left = self._not_taken()
        if left != self._left:
            self._left = left
            self._deadline = now + self.server.send_timeout
        elif now >= self._deadline or self._stands_in_the_way():
            self.transport.abort()  # close would wait until all is sent
            return
        self.watch(min(_SEND_LOOK, self.server.send_timeout))

    def _stands_in_the_way(self) -> bool:
        """Whether others wait for the room of the answer, which may still be under way."""
        room = self._room if self._exchange is None else self._exchange.room
        return room is not None and room.share.is_short


class InPieces:
    """A transport over TLS that is never given much at once.

    Its buffers grow to the largest write, and keep that for as long as the connection lives:
    measured, 2.4 MB for each client that was ever sent 2 MB.
    """

    def __init__(self, transport: Any):
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Piece) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _TLS_BYTES):
            self._transport.write(view[start : start + _TLS_BYTES])

    def writelines(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.write(piece)
