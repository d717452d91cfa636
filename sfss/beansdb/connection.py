"""What a gateway asks a Beansdb node, over the pipelined connection of :mod:`sfss.memcache.connection`.

Answers about a key's place in the hash tree (``@`` and 16 hex digits) are always named, those of unknown keys too,
so a reply that is lost is noticed: what comes next does not fit, and the connection is closed. A node that does
not name them (the C beansdb) is garbage to this class.
"""

import asyncio
import struct
from typing import Any, NamedTuple

from sfss.beansdb.versions import Seen
from sfss.completion import Completion
from sfss.memcache.connection import Connection, Operation, read_set, read_value, refusal, weight_of
from sfss.memcache.protocol import Figures, ProtocolError, Reply, Value, get_command, versioned_set_command

NOTHING = Seen(0, 0)
#: crc, time, flags, version, size of the key, size of the value: what stands before both (docs/stores.rst).
_RECORD = struct.Struct("<IIIiII")
#: A node has compressed the value of such a record.
_COMPRESSED = 0x10000


class Record(NamedTuple):
    """A value as it lies in a node's data."""

    key: bytes
    flags: int
    version: int
    value: bytes | None  #: None: it is compressed


class _NoInterest:
    """Receives what the reply behind it tells better."""

    __slots__ = ()

    def done(self) -> bool:
        return True

    def set_result(self, result: Any) -> None: ...

    def set_exception(self, error: Exception) -> None: ...


NO_INTEREST = _NoInterest()


class NodeConnection(Connection):
    """*trusted*: by bucket, 1 where the node's mark shows that it has what it has acknowledged. It holds as long as
    the connection: a node that restarts ends it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, operation_timeout: float):
        super().__init__(loop, operation_timeout)
        self.trusted = bytearray()
        self.born = (
            0  #: when the node was started, by its own clock (seconds since the epoch); 0: not asked yet
        )
        self.pid = 0

    # As those of the base class: *completion*, or the future that they give, gets the result, or a ProxyError.

    def look(self, hashed: bytes, deadline: float, completion: Completion | None = None) -> Any:
        """The :class:`Seen` of the key with the hash *hashed*, 16 hex digits."""
        key = b"@" + hashed
        return self.send("look", completion, _read_look, key, deadline, 1, get_command(key))

    def fetch(self, key: bytes, deadline: float, completion: Completion | None = None) -> Any:
        """The :class:`Value`, with its flags, or None."""
        return self.send("get", completion, read_value, key, deadline, 1, get_command(key))

    def store(
        self,
        key: bytes,
        hashed: bytes,
        flags: int,
        version: int,
        value: bytes | bytearray,
        deadline: float,
        completion: Completion | None = None,
        refused: Completion = NO_INTEREST,
    ) -> Any:
        """The :class:`Seen` of the key after *value* was set, if *version* was greater than what was there.

        *refused* gets the error, if the node refuses it.
        """
        size = len(value)
        weight = weight_of(size)
        command = versioned_set_command(key, flags, version, size)
        self.send("set", refused, read_set, key, deadline, weight, command, value, b"\r\n")
        return self.look(hashed, deadline, completion)

    def list_tree(self, prefix: bytes, deadline: float) -> Any:
        """The hash tree's bytes under *prefix*, hex digits: see :mod:`sfss.beansdb.tree`."""
        key = b"@" + prefix
        return self.send("list", None, _read_list, key, deadline, 1, get_command(key))

    def record(self, hashed: bytes, deadline: float) -> Any:
        """The :class:`Record` of a key of which only the hash is known, or None."""
        key = b"@@" + hashed
        return self.send("record", None, _read_record, key, deadline, 1, get_command(key))

    def meta(self, key: bytes, deadline: float) -> Any:
        """``VERSION HASH FLAGS SIZE MTIME`` of a key, as bytes, or None."""
        asked = b"?" + key
        return self.send("meta", None, _read_meta, asked, deadline, 1, get_command(asked))

    def figures(self, deadline: float) -> Any:
        """The node's ``stats``, names to values, both text."""
        return self.send("stats", None, _read_figures, b"", deadline, 1, b"stats\r\n")


def _value(operation: Operation, reply: Reply) -> Value:
    """The value that is always there."""
    if not isinstance(reply, Value):
        if reply == b"END":
            raise ProtocolError("it does not name a key of its hash tree: it is no gobeansdb")
        raise refusal(reply)
    if reply.key != operation.key:
        raise ProtocolError("the value of another key")
    return reply


def _read_look(operation: Operation, reply: Reply) -> Seen:
    content = _value(operation, reply).content
    if not content:
        return NOTHING
    parts = content.split()
    if len(parts) != 3 or parts[0] != operation.key[1:]:
        raise ProtocolError("a line of the hash tree is malformed")
    try:
        return Seen(int(parts[2]), int(parts[1]))
    except ValueError:
        raise ProtocolError("a line of the hash tree is malformed") from None


def _read_list(operation: Operation, reply: Reply) -> bytearray:
    return _value(operation, reply).content


def _read_meta(operation: Operation, reply: Reply) -> bytearray | None:
    value = read_value(operation, reply)
    return None if value is None else value.content


def _read_record(operation: Operation, reply: Reply) -> Record | None:
    value = read_value(operation, reply)
    if value is None:
        return None
    data = bytes(value.content)
    if len(data) < _RECORD.size:
        raise ProtocolError("a record is malformed")
    _, _, flags, version, key_size, value_size = _RECORD.unpack_from(data)
    start = _RECORD.size + key_size
    if len(data) != start + value_size:
        raise ProtocolError("a record is malformed")
    return Record(data[_RECORD.size : start], flags, version, None if flags & _COMPRESSED else data[start:])


def _read_figures(operation: Operation, reply: Reply) -> dict[str, str]:
    if not isinstance(reply, Figures):
        raise refusal(reply)
    pairs = (line.decode("utf-8", "backslashreplace").partition(" ") for line in reply.lines)
    return {name: value for name, _, value in pairs}
