"""A wire to a server that can be cut, delayed, throttled and garbled.

What it holds back it holds as the sender's own queue would: when the sender resets the connection, it
is gone. (A network, or a proxy that has read it already, may deliver it all the same, however late;
against that the memcache protocol knows no remedy.)
"""

import asyncio
import random
import threading
from collections.abc import Coroutine
from functools import cache

from tests.listening import listening

_SLICE = 4096
#: So much is read ahead: a reset is only seen by who reads.
_LIMIT = 1 << 28


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of all wires, in a thread of its own: a test that works for a second must not hold up a server."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="wires", daemon=True).start()
    return loop


def _run(coroutine: Coroutine) -> asyncio.Future:
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, _loop()))


class Relay:
    """Listens on :attr:`port` and passes everything on to *target*, a port here."""

    def __init__(self, target: int):
        self._target = target  # nobody need listen there yet
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening = listening(self._serve, limit=_LIMIT)
        self._generator = random.Random(1)
        self._seen: bytearray | None = None
        self.heal()

    async def __aenter__(self) -> "Relay":
        self.port = await _run(self._listening.__aenter__())
        return self

    async def __aexit__(self, *_) -> None:
        await _run(self._listening.__aexit__(None, None, None))

    # What can be wrong with it.

    def heal(self) -> None:
        self._is_cut = False
        self._delay = 0.0  # seconds for each piece
        self._rate = 0  # bytes a second; 0 for any
        self._garbles = 0.0  # the share of the pieces of replies
        self._swallows = False
        self._flips = 0.0  # the share of all pieces
        self._flips_in: list[bytes] = []
        self._answer = b""

    def cut(self) -> None:
        """All connections are reset, and new ones at once."""
        self._is_cut = True
        _loop().call_soon_threadsafe(self._drop)

    def delay(self, seconds: float) -> None:
        self._delay = seconds

    def throttle(self, bytes_a_second: int) -> None:
        self._rate = bytes_a_second

    def garble(self, share: float) -> None:
        """Put bytes into some replies that nobody sent.

        Into replies only: the memcache protocol has no checksums, so a value that is changed on
        the way to the store is stored as it arrives. Nor could a byte in the middle of a value
        that is *exchanged* be noticed; one that is too many is.
        """
        self._garbles = share

    def flip(self, share: float) -> None:
        """Change a byte of some pieces, both ways. (For what has checksums: see :meth:`garble`.)"""
        self._flips = share

    def flip_in(self, content: bytes, times: int = 1) -> None:
        """Change a byte of *content* each of the next *times* it passes, whole, in one piece."""
        self._flips_in = [content] * times

    def watch(self, seen: bytearray) -> None:
        """Note in *seen* all that passes."""
        self._seen = seen

    def answer(self, data: bytes) -> None:
        """Answer *data* to whatever comes, and pass nothing on."""
        self._answer = data

    def swallow(self) -> None:
        """Connections are taken, and nothing passes."""
        self._swallows = True

    # The wire.

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        if self._answer:
            await reader.read(1 << 16)
            writer.write(self._answer)
            writer.close()
            return
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target, limit=_LIMIT)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward}
        try:
            await asyncio.gather(
                self._pass(reader, onward, garbles=False),
                self._pass(onward_reader, writer, garbles=True),
            )
        except OSError:
            pass
        finally:
            for end in (writer, onward):
                end.transport.abort()
                self._writers.discard(end)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, garbles: bool
    ) -> None:
        while piece := await reader.read(1 << 16):
            if self._seen is not None:
                self._seen += piece
            if self._delay:
                await asyncio.sleep(self._delay)
            while self._swallows and not _is_gone(reader, writer):
                await asyncio.sleep(0.05)
            if garbles and self._generator.random() < self._garbles:
                at = self._generator.randrange(len(piece))
                piece = piece[:at] + b"\x00garbage\r\n" + piece[at:]
            if self._generator.random() < self._flips:
                at = self._generator.randrange(len(piece))
                piece = piece[:at] + bytes([piece[at] ^ 0x15]) + piece[at + 1 :]
            if self._flips_in and (at := piece.find(self._flips_in[-1])) >= 0:
                self._flips_in.pop()
                piece = piece[:at] + bytes([piece[at] ^ 0x15]) + piece[at + 1 :]
            for start in range(0, len(piece), _SLICE):
                if _is_gone(reader, writer):
                    raise ConnectionResetError
                writer.write(piece[start : start + _SLICE])
                if self._rate:
                    await asyncio.sleep(_SLICE / self._rate)
            await writer.drain()
        if not writer.transport.is_closing():
            writer.write_eof()


def _is_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection was reset at either end."""
    return reader.exception() is not None or writer.transport.is_closing()
