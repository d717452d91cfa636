"""One pipelined connection to a memcache proxy.

Many operations are under way at once: commands are written in the order in which they came,
all those of one turn of the event loop in one write, and replies are matched to them in
that order. The rules that keep a reply from ever reaching the wrong request:

* Every command has its place in the queue until its reply is whole. If nobody waits for it
  any more (cancelled, or out of time) the reply is read and dropped *in its turn*.
* A reply that cannot belong to the command at the head (another key's value, ``STORED`` to a
  get, a reply when nothing was asked) closes the connection, and so does every reply after
  which the number of replies to come is uncertain (``ERROR``, ``CLIENT_ERROR``). Nothing that came behind
  it is looked at.
* After a write is refused the connection *drains*: it takes nothing new, ends what is under way, and is closed.
  A proxy may say something more to a write that it has refused, which would be taken for the next one's answer.
  So the answers to the writes behind it, and those that say that there is nothing, are held back until a ``get``
  behind them all has its own, which shows that the number of replies was right. (A value tells by its key.)
* When nothing moves for the whole operation timeout although a reply is due, the connection is
  closed: the proxy may be stalled.
* A connection that is closed with commands under way is reset, so that a proxy that has not read
  them yet never will: the same writes are about to go another way, and must not happen late.
* When the connection closes, everything in the queue fails with :class:`ConnectionLost`, and the
  connection is never used again. If it was not closed from our side, its owner is told.

The module is long because all these rules hold for one queue.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from sfss.completion import Completion, tell
from sfss.memcache.endpoint_stats import EndpointStats
from sfss.memcache.errors import (
    ConnectionLost,
    DeadlinePassed,
    OutOfMemory,
    ProxyDown,
    ProxyError,
    ProxyRefused,
    ValueRefused,
)
from sfss.memcache.keys import probe_key
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
#: A look that comes so much later than that (seconds) says that we were stopped, not the proxy.
_WE_WERE_STOPPED = 0.5
#: So many bytes are progress; a peer that moves less in a whole operation timeout is stalled.
_PROGRESS_BYTES = 16 * 1024
_LEAST_CAPACITY, _MOST_CAPACITY = 4, 64
#: What is smaller is joined into one write; what is larger is not worth a copy.
_JOIN_BYTES = 64 * 1024
#: A transfer of this many bytes under way weighs as much as one operation.
_BYTES_PER_OPERATION = 32 * 1024


#: What a proxy may have done although it has refused.
_WRITES = ("set", "delete")


class Operation:
    """A command that was written (or will be, this turn) and whose reply is to come."""

    __slots__ = ("began", "completion", "deadline", "key", "name", "read", "sent", "weight")

    def __init__(
        self,
        name: str,
        read: Callable[["Operation", Reply], object],
        key: bytes,
        completion: Completion,
        sent: float,
        deadline: float,
        weight: int,
    ):
        self.name = name  # for the tally
        self.began = perf_counter()  # the loop's clock is too coarse to measure by
        self.read = read  # turns the reply into the result
        self.key = key
        self.completion = completion
        self.sent = sent  # this and the next on the loop's clock
        self.deadline = deadline
        self.weight = weight


class Connection:
    """See the module. Made by :meth:`open`; :attr:`usable` until it drains or closes. (An
    :class:`asyncio.BufferedProtocol`, but by its base class: a compiled one has none.)
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operation_timeout: float,
    ):
        self.usable = False
        #: Called when it was lost, or had to be closed because nothing moves, or because of garbage.
        self.on_fault: Callable[[ProxyError], None] = lambda reason: None
        self.last_reply = 0.0  #: when it came, on the loop's clock
        self.stall_timeout = operation_timeout  #: see the module; seconds
        self.endpoint_stats = EndpointStats()  #: its owner may put its own here
        #: A load up to which it pays to fill this connection before the next one. A proxy that answers many
        #: commands at once shares its reads and writes among them; one that does one after the other would
        #: keep them waiting for each other.
        self.capacity = _LEAST_CAPACITY
        self._burst = 1.0  # replies that come at once, on the average
        self._loop = loop
        self._transport: Any = None  # an asyncio.Transport
        self._parser = ReplyParser()
        self._draining = False
        self._queue: deque[Operation] = deque()
        # While it drains: what waits for the last get, and those that have answers which may not be theirs.
        self._end: asyncio.Future[Any] | None = None
        self._held: list[tuple[Operation, object]] = []
        self._queued_weight = 0
        self._unwritten: list[bytes | bytearray] = []
        self._unwritten_bytes = 0
        self._watch: asyncio.TimerHandle | None = None
        # For the stall: when something last moved, and the bytes by which that is seen.
        self._moved_at = 0.0
        self._received_since = 0
        self._handed_out = 0
        self._taken_when_moved = 0

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        connect_timeout: float,
        operation_timeout: float,
    ) -> "Connection":
        """Connect within *connect_timeout* seconds.

        *operation_timeout*: seconds without any progress after which the proxy counts as
        stalled.

        :raises ProxyDown: when there is no connection, with the reason.
        """
        loop = asyncio.get_running_loop()
        connection = cls(loop, operation_timeout)
        made: Any = lambda: connection  # noqa: E731
        try:
            async with asyncio.timeout(connect_timeout):
                await loop.create_connection(made, host, port)
        except TimeoutError:
            raise ProxyDown(f"no connection within {connect_timeout:g} s") from None
        except OSError as error:
            raise ProxyDown(f"cannot connect: {error.strerror or error}") from error
        except UnicodeError as wrong:  # of the host's name
            raise ProxyDown(f"cannot connect: {wrong}") from wrong
        return connection

    # The operations. They raise ConnectionLost if the connection is not usable any more. Otherwise
    # *completion*, or the future that they give when there is none, gets the result, or a ProxyError:
    # at the latest when the loop's clock is at *deadline*.

    def get(self, key: bytes, deadline: float, completion: Completion | None = None) -> Any:
        """The value as bytes, or None if the proxy knows of none."""
        return self.send("get", completion, read_get, key, deadline, 1, get_command(key))

    def set(
        self,
        key: bytes,
        value: bytes | bytearray,
        deadline: float,
        completion: Completion | None = None,
    ) -> Any:
        """None, once the proxy has said that the value is stored."""
        size = len(value)
        weight = weight_of(size)
        command = set_command(key, size)
        return self.send("set", completion, read_set, key, deadline, weight, command, value, b"\r\n")

    def delete(self, key: bytes, deadline: float, completion: Completion | None = None) -> Any:
        """True if there was a value, False if there was none."""
        command = delete_command(key)
        return self.send("delete", completion, _read_delete, key, deadline, 1, command)

    @property
    def is_open(self) -> bool:
        """Whether anything is still to come of it: it is usable, or drains."""
        return self.usable or self._draining

    @property
    def load(self) -> int:
        """How much is under way: operations, and large transfers in units of one."""
        return self._queued_weight + self._parser.missing // _BYTES_PER_OPERATION

    def gets_begun_before(self, moment: float) -> Iterator[Completion]:
        """The completions of gets that began before *moment*, on :func:`time.perf_counter`'s clock."""
        for operation in self._queue:
            if operation.began >= moment:
                return
            if operation.name not in _WRITES and not operation.completion.done():
                yield operation.completion

    def close(self) -> None:
        """Close now; whatever is under way fails, and the proxy shall not do it any more."""
        self.usable = self._draining = False
        if self._transport is None:
            return
        if (self._queue or self._held) and (sock := self._transport.get_extra_info("socket")) is not None:
            # A linger time of 0 makes the close a reset (socket(7)), which throws away what the
            # proxy has not read yet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def send(
        self,
        name: str,
        completion: Completion | None,
        read: Callable[[Operation, Reply], object],
        key: bytes,
        deadline: float,
        weight: int,
        *pieces: bytes | bytearray,
    ) -> Completion:
        """Write *pieces*, and give *completion* what *read* makes of the reply: see above.

        *name*: what it counts as. *weight*: see :attr:`load`.
        """
        if not self.usable:
            raise ConnectionLost("the connection is closed")
        if completion is None:
            completion = self._loop.create_future()
        self._enqueue(name, completion, read, key, deadline, weight, *pieces)
        return completion

    def _enqueue(
        self,
        name: str,
        completion: Completion,
        read: Callable[[Operation, Reply], object],
        key: bytes,
        deadline: float,
        weight: int,
        *pieces: bytes | bytearray,
    ) -> None:
        now = self._loop.time()
        self._queue.append(Operation(name, read, key, completion, now, deadline, weight))
        self._queued_weight += weight
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        for piece in pieces:
            self._unwritten.append(piece)
            self._unwritten_bytes += len(piece)
        if self._watch is None:
            self._watch_again(now)

    def _flush(self) -> None:
        pieces, size = self._unwritten, self._unwritten_bytes
        self._unwritten, self._unwritten_bytes = [], 0
        if not self.is_open:
            return
        self._handed_out += size
        if size <= _JOIN_BYTES:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    # Time.

    def _watch_again(self, now: float) -> None:
        self._watch = self._loop.call_at(now + WATCH_INTERVAL, self._look, now + WATCH_INTERVAL)

    def _look(self, planned: float) -> None:
        """Fail what is out of its time; close if nothing moves."""
        self._watch = None
        if not self._queue or not self.is_open:
            return
        now = self._loop.time()
        if now - planned > _WE_WERE_STOPPED:
            self._moved_at = now
        taken = self._handed_out - self._transport.get_write_buffer_size()
        if taken - self._taken_when_moved >= _PROGRESS_BYTES:
            self._taken_when_moved = taken
            self._moved_at = now
        if now - max(self._moved_at, self._queue[0].sent) >= self.stall_timeout:
            self._give_up(ProxyDown(f"no reply within {self.stall_timeout:g} s"))
            return
        for operation in (*self._queue, *(operation for operation, _ in self._held)):
            if operation.deadline <= now and not operation.completion.done():
                operation.completion.set_exception(DeadlinePassed("no reply in time"))
        self._watch_again(now)

    def _give_up(self, reason: ProxyDown) -> None:
        """The proxy is at fault: close, and tell the owner."""
        self.close()
        self.on_fault(reason)

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.usable = True

    def eof_received(self) -> None:
        """The transport closes then."""

    def pause_writing(self) -> None:
        """What is written waits in the transport; its deadline bounds it."""

    def resume_writing(self) -> None:
        """Nothing has waited."""

    def data_received(self, data: bytes) -> None:
        """Only of loops that do not see that this is an :class:`asyncio.BufferedProtocol`."""
        view = memoryview(data)
        while view:
            buffer = self._parser.buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            view = view[size:]
            buffer.release()
            self.buffer_updated(size)

    def get_buffer(self, size: int) -> memoryview:
        return self._parser.buffer()

    def buffer_updated(self, size: int) -> None:
        if not self.is_open:
            return  # what a closed connection still had to say is nobody's reply
        try:
            replies = self._parser.received(size)
            if replies:
                self._moved_at = self.last_reply = self._loop.time()
                self._burst += (len(replies) - self._burst) / 8
                self.capacity = min(max(_LEAST_CAPACITY, int(2 * self._burst)), _MOST_CAPACITY)
            else:
                self._received_since += size
                if self._received_since >= _PROGRESS_BYTES:
                    self._received_since = 0
                    self._moved_at = self._loop.time()
            for reply in replies:
                if not self._queue:
                    raise ProtocolError("a reply that nothing asked for")
                operation = self._queue.popleft()
                self._queued_weight -= operation.weight
                self._settle(operation, reply)
                if self._draining and not self._queue:
                    self.close()
                if not self.is_open:
                    return  # whose the rest is, is uncertain
        except ProtocolError as error:
            self._give_up(error)

    def _settle(self, operation: Operation, reply: Reply) -> None:
        is_write = operation.name in _WRITES
        try:
            outcome = operation.read(operation, reply)
        except ProtocolError as garbage:
            tell(operation.completion, garbage)
            raise
        except ProxyError as error:
            outcome = error
            line = reply if isinstance(reply, bytes) else b""
            if not (line.startswith(b"SERVER_ERROR") or (is_write and line == b"NOT_STORED")):
                tell(operation.completion, error)
                self.close()  # beansdb answers twice to some bad commands
                return
        else:
            self.endpoint_stats.replied(operation.name, perf_counter() - operation.began)
        is_certain = not is_write and outcome is not None
        if self._draining and not is_certain and operation.completion is not self._end:
            self._held.append((operation, outcome))
            return
        tell(operation.completion, outcome)
        if is_write and isinstance(outcome, ProxyRefused):
            self._drain()

    def _drain(self) -> None:
        """A write was refused: see the module."""
        self.usable, self._draining = False, True
        if self._queue:
            key, self._end = probe_key(), self._loop.create_future()
            self._enqueue("get", self._end, read_get, key, float("inf"), 1, get_command(key))
            self._end.add_done_callback(self._drained)

    def _drained(self, end: asyncio.Future[Any]) -> None:
        held, self._held = self._held, []
        uncertain = ConnectionLost("what it answers behind a refusal is uncertain")
        for operation, outcome in held:
            tell(operation.completion, outcome if end.exception() is None else uncertain)

    def connection_lost(self, error: Exception | None) -> None:
        was_open = self.is_open
        self.usable = self._draining = False
        if self._watch is not None:
            self._watch.cancel()
        self._unwritten = []
        if not was_open:
            reason = "the connection was closed from our side"
        else:
            reason = f"the connection was lost: {error}" if error else "the proxy closed it"
            self.on_fault(ConnectionLost(reason))
        while self._queue:
            tell(self._queue.popleft().completion, ConnectionLost(reason))
        self._queued_weight = 0


def weight_of(size: int) -> int:
    """What a transfer of *size* bytes weighs."""
    return 1 + size // _BYTES_PER_OPERATION


# From a reply to the result of the command that it answers.


def read_get(operation: Operation, reply: Reply) -> bytearray | None:
    value = read_value(operation, reply)
    return None if value is None else value.content


def read_value(operation: Operation, reply: Reply) -> Value | None:
    if isinstance(reply, Value):
        if reply.key != operation.key:
            raise ProtocolError("the value of another key")
        return reply
    if reply == b"END":
        return None
    raise refusal(reply)


def read_set(operation: Operation, reply: Reply) -> None:
    if reply != b"STORED":
        raise refusal(reply)


def _read_delete(operation: Operation, reply: Reply) -> bool:
    if reply == b"DELETED":
        return True
    if reply == b"NOT_FOUND":
        return False
    raise refusal(reply)


def refusal(reply: Reply) -> ProxyError:
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
        # memcached at its limit of connections says "ERROR Too many open connections".
        if reply.startswith((b"CLIENT_ERROR", b"NOT_STORED", b"ERROR")):
            return ValueRefused(text) if "too large" in lowered else ProxyRefused(text)
    return ProtocolError("a reply that does not fit the command")
