"""All connections of a process: sockets, TLS, limits, draining."""

import asyncio
import logging
import os
import resource
import socket
import ssl
import time
from email.utils import formatdate
from typing import Any, NamedTuple

from sfss.errors import SfssError
from sfss.http.connection import Connection
from sfss.http.exchange import Exchange
from sfss.http.handler import Handler
from sfss.http.messages import CLOSE_LINE, STATUS_LINES, WITHOUT_BODY, Response
from sfss.metrics.families import Family, gauge

log = logging.getLogger("sfss.web")

#: How long idle connections stay open once a shutdown has begun, in seconds.
IDLE_GRACE = 1.0
#: How often the server looks whether the last request has ended, in seconds.
_LOOK = 0.02
#: Descriptors that clients do not get, and those beyond which a client is not even told so.
_KEPT_BACK = 128
_KEPT_FOR_REFUSALS = 32
_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 64
#: How long a client over TLS has to say goodbye, in seconds.
_GOODBYE_TIMEOUT = 2.0
#: How long nobody is let in when there is no descriptor for a connection, in seconds.
_ACCEPT_PAUSE = 0.1


class Limits(NamedTuple):
    """Times in seconds."""

    header_timeout: float  #: in which the head of a request must be whole
    send_timeout: float  #: in which a client must take some of what it is sent
    keepalive_timeout: float  #: after which an idle connection is closed


class Server:
    """*common_lines*: headers of every answer, each with CRLF at its end."""

    def __init__(self, handler: Handler, limits: Limits, common_lines: str = ""):
        self.handler = handler
        self.header_timeout, self.send_timeout, self.keepalive_timeout = limits
        self.common_lines = common_lines
        self.loop = asyncio.get_running_loop()
        self.draining = False  #: each answer is the last one of its connection
        self._connections: set[Connection] = set()
        self._handshakes: set[asyncio.Task[Any]] = set()
        self._listeners: list[Any] = []  # what can be closed
        self._date_second = 0
        self._date_line = ""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
        self._most_connections = descriptors - used - min(_KEPT_BACK, descriptors // 4)
        self._told_too_many = False

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take connections from *listener*, until :meth:`stop_listening` closes it."""
        if tls is not None:
            self._listeners.append(_TlsListener(self, listener, tls))
            return
        server = await self.loop.create_server(self._connection, sock=listener, backlog=_BACKLOG)
        self._listeners.append(_PlainListener(self, listener, server))

    def stop_listening(self) -> None:
        """Take those who have connected, and nobody else."""
        while self._listeners:
            self._listeners.pop().close()

    async def drain(self, timeout: float) -> None:
        """End every connection; those that are busy after *timeout* seconds are cut off."""
        self.stop_listening()
        self.draining = True
        started = self.loop.time()
        # A client may just be sending its next request over a connection that is idle by our
        # lights. A request in this time is answered, with ``Connection: close``.
        while self._open() and self.loop.time() - started < IDLE_GRACE:
            await asyncio.sleep(_LOOK)
        for handshake in self._handshakes:
            handshake.cancel()
        busy = [connection for connection in self._connections if connection.busy]
        for connection in self._connections.difference(busy):
            connection.transport.close()
        while any(c.busy for c in busy) and self.loop.time() - started < timeout:
            await asyncio.sleep(_LOOK)
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def families(self) -> list[Family]:
        open_ones = gauge("sfss_connections", "Open connections of clients")
        open_ones.add((), self._open())
        busy = gauge("sfss_requests_in_flight", "Requests under way")
        busy.add((), sum(connection.busy for connection in self._connections))
        return [open_ones, busy]

    # What listeners call.

    def take(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve the client at the other end of *accepted*."""
        connection = self._connection()
        if isinstance(connection, _TurnedAway):
            accepted.close()
            return
        task = self.loop.create_task(self._shake_hands(accepted, connection, tls))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(
        self, accepted: socket.socket, connection: Connection, tls: ssl.SSLContext | None
    ) -> None:
        made: Any = lambda: connection  # noqa: E731
        limits: dict[str, Any] = {}
        if tls is not None:
            limits["ssl_handshake_timeout"] = max(self.header_timeout, 0.1)
            limits["ssl_shutdown_timeout"] = _GOODBYE_TIMEOUT
        try:
            await self.loop.connect_accepted_socket(made, accepted, ssl=tls, **limits)
        except (OSError, ssl.SSLError) as error:
            # A scanner, a client of another version, one that has gone.
            log.debug("TLS was not agreed on", extra={"reason": str(error)})
        finally:
            if connection.transport is None:
                accepted.close()

    # What connections call.

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begin(self, exchange: Exchange) -> None:
        try:
            self.handler.begin(exchange)
        except Exception as error:  # a fault of ours must not leave the client without an answer
            exchange.fail(error)

    def refusal(self, error: SfssError, seconds: float) -> bytes:
        """The answer to what is no request; the connection ends behind it."""
        request_id = self.handler.new_id()
        response = self.handler.refusal(error, request_id)
        data = self.head(response, request_id, "", CLOSE_LINE) + response.body
        self.handler.refused(response.status, len(data), seconds)
        return data

    def head(self, response: Response, request_id: str, more_lines: str, connection_line: str) -> bytes:
        """The head of an answer, with *more_lines* that it has for the request's sake."""
        status = response.status
        length = "" if status in WITHOUT_BODY else f"Content-Length: {response.length}\r\n"
        return (
            f"{STATUS_LINES[status]}{response.lines}{more_lines}{self.common_lines}X-Request-ID: {request_id}\r\n"
            f"{length}{self.date_line()}{connection_line}\r\n"
        ).encode("utf-8", "surrogateescape")

    def date_line(self) -> str:
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date_line = f"Date: {formatdate(second, usegmt=True)}\r\n"  # RFC 9110 5.6.7
        return self._date_line

    def _open(self) -> int:
        return len(self._connections) + len(self._handshakes)

    def _connection(self) -> Any:
        if self._has_too_many(_KEPT_FOR_REFUSALS):
            return _TurnedAway()
        return Connection(self, is_refused=self._has_too_many())

    def _has_too_many(self, more: int = 0) -> bool:
        """Whether there are more connections than clients may have, and *more*."""
        too_many = self._open() > self._most_connections + more
        if too_many:
            self.tell_too_many("raise LimitNOFILE, or ulimit -n")
        elif not more:
            self._told_too_many = False
        return too_many

    def tell_too_many(self, reason: str) -> None:
        """Have the operator know, once until it is over."""
        if not self._told_too_many:
            self._told_too_many = True
            log.error(
                "too many connections: new ones get 503",
                extra={"connections": self._open(), "reason": reason},
            )


class _TurnedAway:
    """There are so many connections that not even a refusal can be told."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()

    def data_received(self, data: bytes) -> None:
        """Nobody listens."""

    def eof_received(self) -> None:
        """It is closed already."""

    def pause_writing(self) -> None:
        """Nothing is written."""

    def resume_writing(self) -> None:
        """Nothing is written."""

    def connection_lost(self, error: BaseException | None) -> None:
        """That is what was wanted."""


class _PlainListener:
    """*listening* accepts from *listener*."""

    def __init__(self, server: Server, listener: socket.socket, listening: asyncio.Server):
        self._server = server
        self._listener = listener
        self._listening = listening

    def close(self) -> None:
        _take_all(self._server, self._listener, None)
        self._listening.close()


class _TlsListener:
    """Accepts connections on which TLS is to be agreed: they take descriptors from the first moment, and shall
    not do so for long. (``create_server`` would not tell of them before TLS is agreed.)
    """

    def __init__(self, server: Server, listener: socket.socket, tls: ssl.SSLContext):
        self._server = server
        self._listener = listener
        self._tls = tls
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        server.loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._server.loop.remove_reader(self._listener)
        _take_all(self._server, self._listener, self._tls)
        self._listener.close()

    def _accept(self) -> None:
        server = self._server
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors are left: those who wait will have to
                server.tell_too_many(str(error))
                server.loop.remove_reader(self._listener)
                server.loop.call_later(_ACCEPT_PAUSE, self._accept_again)
                return
            server.take(accepted, self._tls)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._server.loop.add_reader(self._listener, self._accept)


def _take_all(server: Server, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Take the clients that wait in the kernel's queue: they may have sent a request, and a close would reset them."""
    listener.setblocking(False)
    for _ in range(_BACKLOG):
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        server.take(accepted, tls)
