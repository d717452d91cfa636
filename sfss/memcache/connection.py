"""One pipelined connection to a memcache proxy.

Many operations are under way at once: commands are written in the order in which they came,
all those of one turn of the event loop in one write, and replies are matched to them in
that order. The rules that keep a reply from ever reaching the wrong request:

* Every command has its place in the queue until its reply is whole. If nobody waits for it
  any more (cancelled, or out of time) the reply is read and dropped *in its turn*.
* A reply that cannot belong to the command at the head (another key's value, ``STORED`` to a
  get, a reply when nothing was asked) closes the connection, and so does every reply after
  which the number of replies to come is uncertain (``ERROR``, ``CLIENT_ERROR``).
* An operation that is out of its own time fails alone. When the head has waited the whole
  operation timeout, the proxy may be stalled, and the connection is closed.
* When the connection closes, everything in the queue fails with :class:`ConnectionLost` (or
  with the reason for closing), and the connection is never used again. Its owner is told.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sfss.memcache.errors import (
    ConnectionLost,
    DeadlinePassed,
    OutOfMemory,
    ProxyDown,
    ProxyError,
    ProxyRefused,
    ValueRefused,
)
from sfss.memcache.protocol import (
    ProtocolError,
    Reply,
    ReplyParser,
    Value,
    delete_command,
    get_command,
    set_command,
)

#: How often the queue is looked over for operations that are out of time, in seconds.
WATCH_INTERVAL = 0.1
#: What is smaller is joined into one write; what is larger is not worth a copy.
_JOIN_BYTES = 64 * 1024
#: A transfer of this many bytes under way weighs as much as one operation.
_BYTES_PER_OPERATION = 32 * 1024


class Receiver(Protocol):
    """Who waits for a reply: an :class:`asyncio.Future`, or something cheaper that is called
    back at once, in the turn of the loop in which the reply came.
    """

    def done(self) -> bool:
        """Whether nobody waits any more; then neither of the others is called."""

    def set_result(self, result: Any) -> None: ...

    def set_exception(self, error: ProxyError) -> None: ...


class _Operation:
    """A command that was written (or will be, this turn) and whose reply is to come."""

    __slots__ = ("expires", "key", "read", "receiver", "sent", "weight")

    def __init__(
        self,
        read: Callable[["_Operation", Reply], object],
        key: bytes,
        receiver: Receiver,
        sent: float,
        expires: float,
        weight: int,
    ):
        self.read = read  # turns the reply into the result
        self.key = key
        self.receiver = receiver
        self.sent = sent  # this and the next on the loop's clock
        self.expires = expires
        self.weight = weight


class Connection(asyncio.Protocol):
    """See the module. Made by :meth:`open`; :attr:`usable` until it closes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operation_timeout: float,
        on_down: Callable[[ProxyDown], None],
    ):
        self._loop = loop
        self._operation_timeout = operation_timeout
        self._on_down = on_down
        self._transport: asyncio.Transport | None = None
        self._parser = ReplyParser()
        self._queue: deque[_Operation] = deque()
        self._queued_weight = 0
        self._unwritten: list[bytes | bytearray] = []
        self._unwritten_bytes = 0
        self._watch: asyncio.TimerHandle | None = None
        self._reason: ProxyError | None = None  # why it was closed, when we closed it
        self.usable = False

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        connect_timeout: float,
        operation_timeout: float,
        on_down: Callable[[ProxyDown], None] = lambda reason: None,
    ) -> "Connection":
        """Connect within *connect_timeout*; operations take at most *operation_timeout* (seconds).

        *on_down* is called when the connection had to be closed because the proxy does not
        answer in time or answers garbage.

        :raises ProxyDown: when that fails, with the reason.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: cls(loop, operation_timeout, on_down), host, port
                )
        except TimeoutError:
            raise ProxyDown(f"no connection within {connect_timeout:g} s") from None
        except OSError as error:
            raise ProxyDown(f"cannot connect: {error.strerror or error}") from error
        return connection

    # The operations. Each returns a future at once, and fails when the loop's clock is at
    # `deadline`, or before, after the operation timeout. They raise ConnectionLost if the
    # connection is not usable any more.

    def get(self, key: bytes, deadline: float) -> asyncio.Future:
        """A future of the value as bytes, or of None if the proxy knows of none."""
        future = self._loop.create_future()
        self.get_into(future, key, deadline)
        return future

    def get_into(self, receiver: Receiver, key: bytes, deadline: float) -> None:
        """As :meth:`get`, into *receiver*."""
        self._send(receiver, _read_get, key, deadline, 1, get_command(key))

    def set(self, key: bytes, value: bytes | bytearray, deadline: float) -> asyncio.Future:
        """A future of None, once the proxy has said that the value is stored."""
        future = self._loop.create_future()
        self.set_into(future, key, value, deadline)
        return future

    def set_into(
        self, receiver: Receiver, key: bytes, value: bytes | bytearray, deadline: float
    ) -> None:
        """As :meth:`set`, into *receiver*."""
        size = len(value)
        weight = 1 + size // _BYTES_PER_OPERATION
        command = set_command(key, size)
        self._send(receiver, _read_set, key, deadline, weight, command, value, b"\r\n")

    def delete(self, key: bytes, deadline: float) -> asyncio.Future:
        """A future of True if there was a value, of False if there was none."""
        future = self._loop.create_future()
        self._send(future, _read_delete, key, deadline, 1, delete_command(key))
        return future

    @property
    def load(self) -> int:
        """How much is under way: operations, and large transfers in units of one."""
        return self._queued_weight + self._parser.value_bytes_missing // _BYTES_PER_OPERATION

    def close(self, reason: ProxyError | None = None) -> None:
        """Close now; whatever is under way fails with *reason*."""
        if self._reason is None:
            self._reason = reason
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, reason: ProxyDown) -> None:
        """The proxy is at fault: close, and tell the owner."""
        self.close(reason)
        self._on_down(reason)

    def _send(
        self,
        receiver: Receiver,
        read: Callable[[_Operation, Reply], object],
        key: bytes,
        deadline: float,
        weight: int,
        *pieces: bytes | bytearray,
    ) -> None:
        if not self.usable:
            raise ConnectionLost("the connection is closed")
        now = self._loop.time()
        expires = min(deadline, now + self._operation_timeout)
        self._queue.append(_Operation(read, key, receiver, now, expires, weight))
        self._queued_weight += weight
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        for piece in pieces:
            self._unwritten.append(piece)
            self._unwritten_bytes += len(piece)
        if self._watch is None:
            self._watch = self._loop.call_later(WATCH_INTERVAL, self._look_for_expired)

    def _flush(self) -> None:
        pieces, size = self._unwritten, self._unwritten_bytes
        self._unwritten, self._unwritten_bytes = [], 0
        if not self.usable:
            return
        if size <= _JOIN_BYTES:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    def _look_for_expired(self) -> None:
        self._watch = None
        if not self._queue or not self.usable:
            return
        now = self._loop.time()
        if self._queue[0].sent + self._operation_timeout <= now:
            self._give_up(ProxyDown(f"no reply within {self._operation_timeout:g} s"))
            return
        for operation in self._queue:
            if operation.expires <= now and not operation.receiver.done():
                operation.receiver.set_exception(DeadlinePassed("no reply in time"))
        self._watch = self._loop.call_later(WATCH_INTERVAL, self._look_for_expired)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if not self.usable:
            return  # what a closed connection still had to say is nobody's reply
        try:
            for reply in self._parser.feed(data):
                if not self._queue:
                    raise ProtocolError("a reply that nothing asked for")
                operation = self._queue.popleft()
                self._queued_weight -= operation.weight
                self._settle(operation, reply)
        except ProtocolError as error:
            self._give_up(error)

    def _settle(self, operation: _Operation, reply: Reply) -> None:
        try:
            value = operation.read(operation, reply)
        except ProxyError as error:
            if not operation.receiver.done():
                operation.receiver.set_exception(error)
            if isinstance(error, ProtocolError):
                raise
            if not reply.startswith((b"SERVER_ERROR", b"NOT_STORED")):
                # beansdb answers twice to some bad commands: what comes next is uncertain.
                self.close(ConnectionLost("closed after an error reply"))
        else:
            if not operation.receiver.done():
                operation.receiver.set_result(value)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._watch is not None:
            self._watch.cancel()
        self._unwritten = []
        reason = self._reason or ConnectionLost(
            f"the connection was lost: {error}" if error else "the proxy closed the connection"
        )
        while self._queue:
            receiver = self._queue.popleft().receiver
            if not receiver.done():
                # One instance for each: an exception that is raised twice keeps both tracebacks.
                receiver.set_exception(type(reason)(*reason.args))


# From a reply to the result of the command that it answers.


def _read_get(operation: _Operation, reply: Reply) -> bytes | None:
    if isinstance(reply, Value):
        if reply.key != operation.key:
            raise ProtocolError("the value of another key")
        return reply.content
    if reply == b"END":
        return None
    raise _refusal(reply)


def _read_set(operation: _Operation, reply: Reply) -> None:
    if reply != b"STORED":
        raise _refusal(reply)


def _read_delete(operation: _Operation, reply: Reply) -> bool:
    if reply == b"DELETED":
        return True
    if reply == b"NOT_FOUND":
        return False
    raise _refusal(reply)


def _refusal(reply: Reply) -> ProxyError:
    """The error for a reply that is not what the command hopes for."""
    if isinstance(reply, bytes):
        text = reply.decode("ascii", "backslashreplace")[:200]
        lowered = text.lower()
        if reply.startswith(b"SERVER_ERROR"):
            if "out of memory" in lowered or "no space" in lowered:
                return OutOfMemory(text)
            if "too large" in lowered:
                return ValueRefused(text)
            return ProxyRefused(text)
        if reply.startswith((b"CLIENT_ERROR", b"NOT_STORED")) or reply == b"ERROR":
            return ValueRefused(text) if "too large" in lowered else ProxyRefused(text)
    return ProtocolError("a reply that does not fit the command")
