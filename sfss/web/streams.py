"""Requests that a coroutine answers, on the HTTP engine: their bodies, and their answers, piece by piece.

Both wait for each other: no more of a body is read than the coroutine takes, and it waits while the client does not
take its answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from sfss.errors import InvalidRequest, SfssError, UploadTimeout
from sfss.http.exchange import Exchange

log = logging.getLogger("sfss.web")

#: The body of a request may take so long (seconds) if more of it keeps coming.
_LONGEST = 24 * 3600.0
#: No more of a body is read while so much of it waits. Bytes.
_ENOUGH = 256 * 1024
#: What is on its way to a client that does not read is copied: so much at once. Bytes.
_AT_ONCE = 128 * 1024


class Gone(SfssError):
    """The client has gone in the middle of its answer."""


class Incoming:
    """The body of *exchange*, as it comes. *timeout*: seconds in which more of it must come.

    :raises UploadTimeout: :raises InvalidRequest: if it is cut off, or its framing is wrong.
    """

    def __init__(self, exchange: Exchange, timeout: float):
        self._exchange = exchange
        self._timeout = timeout
        self._pieces: list[bytes] = []
        self._size = 0  # of them
        self._is_asked = False
        self._is_whole = False
        self._error: SfssError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def length(self) -> int | None:
        """In bytes; None: nobody says so."""
        if self._exchange.has_body:
            return self._exchange.length
        return 0 if "content-length" in self._exchange.headers else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._is_asked:
            self._ask()
        if not self._pieces and not self._is_whole and self._error is None:
            await self._wait()
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            if self._exchange.connection is not None:
                self._exchange.connection.resume_reading()
            return b"".join(pieces) if len(pieces) > 1 else pieces[0]
        if self._error is not None:
            error, self._error = self._error, InvalidRequest("The body was not whole.")
            try:
                raise error
            finally:
                del error  # (its traceback has this frame, and so all that is here)
        raise StopAsyncIteration

    def _ask(self) -> None:
        self._is_asked = True
        exchange = self._exchange
        if exchange.connection is None:
            self._error = InvalidRequest("The connection was closed before the body was whole.")
            return
        if not exchange.has_body:
            exchange.invite_nothing()
        exchange.receive(self, timeout=_LONGEST, most=0)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout):
                await self._waiter
        except TimeoutError:
            raise UploadTimeout(f"Nothing has come for {self._timeout:g} s.") from None
        finally:
            self._waiter = None

    async def whole(self, *, most: int, seconds: float = 60.0) -> bytes:
        """All of it, which has *seconds* to arrive. :raises InvalidRequest: if it is longer than *most* bytes."""
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for data in self:
                    body += data
                    if len(body) > most:
                        raise InvalidRequest(f"The body has over {most} bytes.")
        except TimeoutError:
            raise UploadTimeout(f"The body did not arrive within {seconds:g} s.") from None
        return bytes(body)

    # What the engine calls (:class:`sfss.http.exchange.BodySink`).

    def feed(self, data: bytes) -> None:
        self._pieces.append(bytes(data))
        self._size += len(data)
        if self._size >= _ENOUGH and self._exchange.connection is not None:
            self._exchange.connection.pause_reading()
        self._wake()

    def end(self) -> None:
        self._is_whole = True
        self._wake()

    def fail(self, error: SfssError) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outgoing:
    """The answer of *exchange*, piece by piece. *length*: of its body in bytes; None: nobody knows."""

    def __init__(self, exchange: Exchange, status: int, lines: str, length: int | None):
        self._exchange = exchange
        self._status = status
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        exchange.flow = self
        exchange.begin_answer(status, lines + exchange.own_lines(), length)

    async def send(self, data: bytes | memoryview) -> None:
        """:raises Gone:"""
        for start in range(0, len(data), _AT_ONCE):
            if self._is_paused:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if self._exchange.connection is None:
                raise Gone
            self._exchange.send(data[start : start + _AT_ONCE])

    def finish(self) -> None:
        self._exchange.flow = None
        self._exchange.finish(self._status)

    def fail(self, error: Exception, message: str) -> None:
        """It has begun, so only the end of the connection can tell that the rest does not come. *message*: of the log,
        unless it is the client who has gone.
        """
        self._exchange.flow = None
        if isinstance(error, Gone):
            return
        is_known = isinstance(error, SfssError)
        what = {"path": self._exchange.path, "reason": str(error)}
        log.error(message, extra=what, exc_info=None if is_known else error)
        self._exchange.cut_off()

    # What the engine calls (:class:`sfss.http.exchange.Flow`).

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self) -> None:
        self.resume_writing()
