"""The memcache text protocol without any I/O: commands to bytes, bytes to replies.

Only get (of one key), set and delete are spoken: with version and stats they are the
commands that every store of the Beansdb family answers alike (stores.md). Source of the
formats: memcached's doc/protocol.txt, "Storage commands" and "Retrieval command".

The rules kept here:

* A reply is either whole or not there: :meth:`ReplyParser.feed` returns whole replies only.
* Whatever the bytes are, the parser returns replies or raises :class:`ProtocolError`; after
  that it must not be fed again, because nobody knows where the next reply begins.
* It never keeps more than one line of 2,048 bytes, or one value of ``MAX_VALUE_BYTES``.
"""

from typing import NamedTuple

from sfss.memcache.errors import ProxyDown

#: No store of the family takes values over 50 MB: a longer announcement is garbage.
MAX_VALUE_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 2048

_CRLF = b"\r\n"
_VALUE_END = b"\r\nEND\r\n"
_VALUE_END_SIZE = len(_VALUE_END)


class ProtocolError(ProxyDown):
    """The bytes are not a reply of the memcache protocol."""


class Value(NamedTuple):
    """The reply to a get that hit. (A get that missed is the line ``END``.)"""

    key: bytes
    content: bytes


#: A value, or any other reply as its line without the line break.
Reply = Value | bytes


def get_command(key: bytes) -> bytes:
    return b"get %b\r\n" % key


def set_command(key: bytes, size: int) -> bytes:
    """The line before the value; the value and a line break follow it.

    The flags are 0: the Beansdb family gives some of their bits a meaning. So is the expiry.
    """
    return b"set %b 0 0 %d\r\n" % (key, size)


def delete_command(key: bytes) -> bytes:
    return b"delete %b\r\n" % key


class ReplyParser:
    """Cuts a stream of bytes, in chunks of any size, into replies."""

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a line, or of a value's end
        self._key = b""
        self._chunks: list[bytes] = []  # of the value under way
        self.missing = -1  #: bytes of it still to come; -1: no value under way

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that *data* completes, in order.

        :raises ProtocolError: when the bytes cannot be a reply.
        """
        replies: list[Reply] = []
        position = 0
        if self.missing > 0:
            if len(data) < self.missing:
                self._chunks.append(data)
                self.missing -= len(data)
                return replies
            position = self.missing
            self._chunks.append(data[:position])
            self.missing = 0
        elif self._rest:
            data = self._rest + data
            self._rest = b""

        length = len(data)
        while position < length:
            if self.missing == 0:  # the value is whole, its end is to come
                if not _ends_value(data, position):
                    break
                position += _VALUE_END_SIZE
                replies.append(Value(self._key, b"".join(self._chunks)))
                self._chunks = []
                self.missing = -1
                continue
            line_end = data.find(_CRLF, position, position + MAX_LINE_BYTES)
            if line_end < 0:
                if length - position >= MAX_LINE_BYTES:
                    raise ProtocolError("a reply's line is too long")
                break
            line = data[position:line_end]
            position = line_end + 2
            if not line.startswith(b"VALUE "):
                replies.append(line)
                continue
            key, size = _value_line(line)
            value_end = position + size
            if data.startswith(_VALUE_END, value_end):
                replies.append(Value(key, data[position:value_end]))
                position = value_end + _VALUE_END_SIZE
                continue
            self._key = key
            self._chunks = [data[position:value_end]]
            self.missing = max(value_end - length, 0)
            position = min(value_end, length)
        if position < length:
            self._rest = data[position:]
        return replies


def _ends_value(data: bytes, position: int) -> bool:
    """Whether a value's end stands at *position*; False if too few bytes are there."""
    if data.startswith(_VALUE_END, position):
        return True
    if _VALUE_END.startswith(data[position : position + _VALUE_END_SIZE]):
        return False
    raise ProtocolError("a value does not end where its size says")


def _value_line(line: bytes) -> tuple[bytes, int]:
    """``VALUE <key> <flags> <bytes>`` to the key and the number of bytes."""
    parts = line.split(b" ")
    if len(parts) != 4 or not parts[1] or not parts[2].isdigit() or not parts[3].isdigit():
        raise ProtocolError("a VALUE line is malformed")
    if len(parts[3]) > 9 or (size := int(parts[3])) > MAX_VALUE_BYTES:
        raise ProtocolError("a value is announced larger than any store keeps")
    return parts[1], size
