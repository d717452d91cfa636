"""From the HTTP engine to an aiohttp application, by its public interface, one message at a time.

aiohttp's own connection handler (:class:`aiohttp.web.Server` makes it) is given one request, as it was framed
by the engine, over a transport that is no socket: it sees ``Connection: close``, and never a second request.
What it answers is framed again by the engine. Bodies stream both ways, and wait for each other.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpResponseParser

from sfss.errors import SfssError
from sfss.http.exchange import Exchange
from sfss.web.request_ids import RequestIds

log = logging.getLogger("sfss.web")

#: They are of one connection, or of its framing (RFC 9110 7.6.1): each side has its own.
_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer")
    + ("transfer-encoding", "upgrade", "x-request-id")
)
#: So long the body of a request may take, in seconds; handlers have limits of their own.
_BODY_TIMEOUT = 300.0


class Bridge:
    """*make_protocol* makes aiohttp's connection handler."""

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol]):
        self._make_protocol = make_protocol

    def begin(self, exchange: Exchange, request_ids: RequestIds) -> None:
        """Have *exchange* answered by the application."""
        exchange.id = exchange.id or request_ids.new()
        _Crossing(exchange, self._make_protocol()).begin()


class _Crossing(asyncio.Transport):
    """One request on its way, and its answer on the way back: a transport to aiohttp, a
    :class:`sfss.http.exchange.BodySink` and :class:`sfss.http.exchange.Flow` to the engine.
    """

    def __init__(self, exchange: Exchange, protocol: asyncio.Protocol):
        super().__init__()
        self._exchange = exchange
        self._protocol = protocol
        self._answer = HttpResponseParser(self)
        self._is_closing = False
        self._is_done = False  # the answer is whole
        self._lines: list[str] = []
        self._length: int | None = None
        self._status = 0
        self._is_chunked = False

    def begin(self) -> None:
        exchange = self._exchange
        exchange.flow = self
        self._protocol.connection_made(self)
        lines = [f"{exchange.method} {exchange.target} HTTP/1.1"]
        for name, value in exchange.headers.raw.items():
            if name not in _OF_THE_CONNECTION and not name.startswith("sec-websocket-"):
                lines.append(f"{name}: {value.decode('utf-8', 'surrogateescape')}")
        if "host" not in exchange.headers:
            lines.append("host: ")
        lines += [f"x-request-id: {exchange.id}", "connection: close"]
        if exchange.has_body:
            self._is_chunked = exchange.length is None
            lines.append(
                "transfer-encoding: chunked" if self._is_chunked else f"content-length: {exchange.length}"
            )
        elif "content-length" in exchange.headers:
            lines.append("content-length: 0")
        self._protocol.data_received("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        if exchange.has_body:
            exchange.receive(self, timeout=_BODY_TIMEOUT, most=0)

    # The body, from the engine.

    def feed(self, data: bytes) -> None:
        if not self._is_done and not self._is_closing:
            if self._is_chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            self._protocol.data_received(bytes(data))

    def end(self) -> None:
        if self._is_chunked and not self._is_done and not self._is_closing:
            self._protocol.data_received(b"0\r\n\r\n")

    def fail(self, error: SfssError) -> None:
        self._lose(ConnectionResetError(str(error)))
        if not self._status and self._exchange.connection is not None:
            self._exchange.fail(error)
        elif self._status and not self._is_done:
            self._exchange.cut_off()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self) -> None:
        self._lose(ConnectionResetError("the client has gone"))

    def _lose(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            # (A protocol does not expect that before its own first step, or from within a call of its own.)
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    # The answer, from aiohttp: what a transport does.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_done:
            return
        try:
            self._answer.feed_data(data)
        except HttpParserError as error:
            log.error("the application's answer is none", extra={"reason": str(error)})
            self._exchange.cut_off()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        self._end()

    def abort(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._is_closing:
            return
        self._lose(None)
        if self._is_done:
            return
        if self._status and self._length is None:
            self._finish()  # without a length, that is its end
        elif self._status or self._exchange.connection is None:
            self._exchange.cut_off()
        else:
            self._exchange.fail(RuntimeError("the application has not answered"))

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        if self._exchange.connection is not None:
            self._exchange.connection.pause_reading()

    def resume_reading(self) -> None:
        if self._exchange.connection is not None:
            self._exchange.connection.resume_reading()

    def is_reading(self) -> bool:
        return not self._is_closing

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The engine has its own."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        connection = self._exchange.connection
        if connection is None or name == "socket":  # (that is not aiohttp's to touch)
            return default
        return connection.transport.get_extra_info(name, default)

    # What llhttp finds in it.

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower().decode("latin-1")
        if lowered == "content-length":
            self._length = int(value)
        elif lowered not in _OF_THE_CONNECTION or lowered == "x-request-id":
            self._lines.append(f"{name.decode('latin-1')}: {value.decode('utf-8', 'surrogateescape')}\r\n")

    def on_headers_complete(self) -> None:
        status = self._answer.get_status_code()
        if status < 200:
            self._lines = []
            return
        self._status = status
        self._exchange.begin_answer(status, "".join(self._lines), self._length)
        if self._exchange.method == "HEAD":
            self._finish()

    def on_body(self, data: bytes) -> None:
        if not self._is_done:
            self._exchange.send(data)

    def on_message_complete(self) -> None:
        if self._status:
            self._finish()

    def _finish(self) -> None:
        if not self._is_done:
            self._is_done = True
            self._exchange.flow = None
            self._exchange.finish(self._status)
