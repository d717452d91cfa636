"""The memcache text protocol without any I/O: commands to bytes, bytes to replies.

To a proxy only get (of one key), set and delete are spoken: with version and stats they are the
commands that every store of the Beansdb family answers alike (docs/stores.rst). To a Beansdb node also
stats, and set with flags and a version. Source of the formats: memcached's doc/protocol.txt,
"Storage commands", "Retrieval command" and "General-purpose statistics".

The rules kept here:

* A reply is either whole or not there: :meth:`ReplyParser.received` returns whole replies only.
* Whatever the bytes are, the parser returns replies or raises :class:`ProtocolError`; after
  that it must not be fed again, because nobody knows where the next reply begins.
* It never keeps more than :data:`BUFFER_BYTES`, and one value of ``MAX_VALUE_BYTES``.
"""

from typing import NamedTuple

from sfss.memcache.errors import ProxyDown

#: No store of the family takes values over 50 MB: a longer announcement is garbage.
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 2048
#: So much is received at once, but for the rest of a larger value.
BUFFER_BYTES = 128 * 1024
#: So much room a value gets at first.
_FIRST_BYTES = 4 * 1024 * 1024

_CRLF = b"\r\n"
_VALUE_END = b"\r\nEND\r\n"
_VALUE_END_SIZE = len(_VALUE_END)
_END = b"END"
#: No server has so many figures.
_MOST_FIGURES = 1000


class ProtocolError(ProxyDown):
    """The bytes are not a reply of the memcache protocol."""

    kind = "garbage"


class Value(NamedTuple):
    """The reply to a get that hit. (A get that missed is the line ``END``.)"""

    key: bytes
    content: bytearray
    flags: int = 0  #: as they were set, 32 bits


class Figures(NamedTuple):
    """The reply to ``stats``."""

    lines: list[bytes]  #: each ``NAME VALUE``


#: A value, figures, or any other reply as its line without the line break.
Reply = Value | Figures | bytes


def get_command(key: bytes) -> bytes:
    return b"get %b\r\n" % key


def set_command(key: bytes, size: int) -> bytes:
    """The line before the value; the value and a line break follow it.

    The flags are 0: the Beansdb family gives some of their bits a meaning. So is the expiry.
    """
    return b"set %b 0 0 %d\r\n" % (key, size)


def versioned_set_command(key: bytes, flags: int, version: int, size: int) -> bytes:
    """The same to a Beansdb node, which takes the expiry as the version (docs/stores.rst)."""
    return b"set %b %d %d %d\r\n" % (key, flags, version, size)


def delete_command(key: bytes) -> bytes:
    return b"delete %b\r\n" % key


class ReplyParser:
    """Cuts a stream of bytes, in pieces of any size, into replies.

    The caller puts bytes into :meth:`buffer`, and says how many by :meth:`received`. The rest of a large value goes
    to where it stays, without another copy.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._kept = 0  # bytes at its beginning: the first of a line, or of a value's end
        self._key = b""
        self._flags = 0
        self._figures: list[bytes] = []
        self._value = bytearray()  # the one under way
        self._value_size = 0
        self._value_filled = 0
        self._has_value = False

    @property
    def missing(self) -> int:
        """Bytes of the value under way that are still to come."""
        return self._value_size - self._value_filled

    def buffer(self) -> memoryview:
        """Where the next bytes go; there is room for one at the least."""
        filled = self._value_filled
        if filled == self._value_size:
            return memoryview(self._buffer)[self._kept :]
        if filled == len(self._value):  # it is larger than what it got at first
            self._value.extend(bytes(min(filled, self._value_size - filled)))
        return memoryview(self._value)[filled:]

    def received(self, size: int) -> list[Reply]:
        """The replies that the next *size* bytes complete, in order.

        :raises ProtocolError: when the bytes cannot be a reply.
        """
        replies: list[Reply] = []
        if self._value_filled < self._value_size:
            self._value_filled += size
            return replies  # its end is to come
        buffer = self._buffer
        position, end = 0, self._kept + size
        while position < end:
            if self._has_value:  # it is whole
                if not _ends_value(buffer, position, end):
                    break
                position += _VALUE_END_SIZE
                replies.append(Value(self._key, self._value, self._flags))
                self._value = bytearray()
                self._value_size = self._value_filled = 0
                self._has_value = False
                continue
            line_end = buffer.find(_CRLF, position, min(position + MAX_LINE_BYTES, end))
            if line_end < 0:
                if end - position >= MAX_LINE_BYTES:
                    raise ProtocolError("a reply's line is too long")
                break
            line = bytes(buffer[position:line_end])
            position = line_end + 2
            if not line.startswith(b"VALUE "):
                if line.startswith(b"STAT "):
                    self._figures.append(line[5:])
                    if len(self._figures) > _MOST_FIGURES:
                        raise ProtocolError("stats without an end")
                elif self._figures:
                    if line != _END:
                        raise ProtocolError("stats do not end where they should")
                    replies.append(Figures(self._figures))
                    self._figures = []
                else:
                    replies.append(line)
                continue
            if self._figures:
                raise ProtocolError("stats do not end where they should")
            key, flags, length = _value_line(line)
            value_end = position + length
            if value_end + _VALUE_END_SIZE <= end and buffer.startswith(_VALUE_END, value_end):
                replies.append(Value(key, buffer[position:value_end], flags))
                position = value_end + _VALUE_END_SIZE
                continue
            # What a proxy announces is not believed before it comes: a large one gets its room bit by bit.
            here = min(value_end, end) - position
            self._value = bytearray(min(length, max(_FIRST_BYTES, here)))
            self._value[:here] = memoryview(buffer)[position : position + here]
            self._key, self._flags, self._has_value = key, flags, True
            self._value_size, self._value_filled = length, here
            position += here
        self._kept = end - position
        if position and self._kept:
            buffer[: self._kept] = buffer[position:end]
        return replies


def _ends_value(buffer: bytearray, position: int, end: int) -> bool:
    """Whether a value's end stands at *position*; False if too few bytes are there, before *end*."""
    if buffer.startswith(_VALUE_END, position, end):
        return True
    if _VALUE_END.startswith(buffer[position:end]):
        return False
    raise ProtocolError("a value does not end where its size says")


def _value_line(line: bytes) -> tuple[bytes, int, int]:
    """``VALUE <key> <flags> <bytes>`` to the key, the flags and the number of bytes."""
    parts = line.split(b" ")
    if len(parts) != 4 or not parts[1] or not parts[2].isdigit() or not parts[3].isdigit():
        raise ProtocolError("a VALUE line is malformed")
    if len(parts[2]) > 10:
        raise ProtocolError("a VALUE line is malformed")
    if len(parts[3]) > 9 or (size := int(parts[3])) > MAX_VALUE_BYTES:
        raise ProtocolError("a value is announced larger than any store keeps")
    return parts[1], int(parts[2]), size
