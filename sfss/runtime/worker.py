"""One process that serves, as its master sees it, and what happens in it."""

import asyncio
import gc
import logging
import mmap
import os
import signal
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable

from sfss.errors import SfssError
from sfss.runtime.server import Server

try:
    import uvloop
except ImportError:  # it does not exist for every platform
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger("sfss")

#: What a worker does with connections.
_STARTS, _SERVES, _CLOSED = range(3)
#: The state, and when it was last seen to live, on time.monotonic's clock (which all processes share).
_LIFE = struct.Struct("=Bd")
#: How often a worker shows that its loop turns, in seconds.
_SIGN_OF_LIFE = 1.0
#: The signals that end a process.
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Worker:
    """Made in the master, before the fork. *place*: of its metrics, on the board."""

    def __init__(self, place: int):
        self.place = place
        self.pid = 0  #: once it is forked
        self._master = os.getpid()
        self.retiring = False  #: it was told to end
        self._life = mmap.mmap(-1, _LIFE.size)
        self._show(_STARTS)

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        return self._state() == _SERVES

    @property
    def has_served(self) -> bool:
        return self._state() != _STARTS

    def silent_for(self) -> float:
        """Seconds since it has shown life."""
        shown: float = _LIFE.unpack_from(self._life)[1]
        return time.monotonic() - shown

    def close(self) -> None:
        """It has ended."""
        self._life.close()

    # In the worker.

    def run(
        self,
        make_server: Callable[[], Awaitable[Server]],
        listeners: list[socket.socket],
        tls: ssl.SSLContext | None,
    ) -> int:
        """Serve until a signal comes, or the master is gone; returns the exit code.

        It is called with the signals of :data:`ENDS` blocked: they count once the loop runs.
        """
        serve = self._serve(make_server, listeners, tls)
        try:
            if uvloop is not None:
                uvloop.run(serve)
            else:
                asyncio.run(serve)
        except SfssError as error:
            log.error("a worker cannot start", extra={"reason": str(error)})
            return 1
        except Exception:
            log.exception("a worker has failed")
            return 1
        return 0

    async def _serve(
        self,
        make_server: Callable[[], Awaitable[Server]],
        listeners: list[socket.socket],
        tls: ssl.SSLContext | None,
    ) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in ENDS:
            loop.add_signal_handler(number, stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        life = loop.create_task(self._keep_showing_life(stop))
        server = await make_server()
        try:
            await server.start()
            for listener in listeners:
                await server.listen(listener, tls)
            settle()
            self._show(_SERVES)
            await stop.wait()
            server.stop_listening()
            self._show(_CLOSED)
        finally:
            await server.stop()
            life.cancel()
            heed_no_more_signals()

    async def _keep_showing_life(self, stop: asyncio.Event) -> None:
        while True:
            self._show(self._state())
            if os.getppid() != self._master:
                stop.set()
            await asyncio.sleep(_SIGN_OF_LIFE)

    def _state(self) -> int:
        state: int = _LIFE.unpack_from(self._life)[0]
        return state

    def _show(self, state: int) -> None:
        _LIFE.pack_into(self._life, 0, state, time.monotonic())


def heed_no_more_signals() -> None:
    """To be called when all is done, before the loop is closed.

    asyncio closes the pipe of the signals before it takes its handlers away: a signal between the two
    would put a traceback into the log.
    """
    signal.set_wakeup_fd(-1)


def settle() -> None:
    """Freeze startup objects, so that the garbage collector skips them."""
    gc.collect()
    gc.freeze()
