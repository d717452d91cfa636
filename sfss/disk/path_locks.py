"""Locks on paths, for the processes of one machine: of all that hold one, each is alone with its path.

A lock is one byte of a file, as POSIX has it (fcntl(2), "Advisory record locking"): the system takes it back from
a process that is killed. It belongs to the process, so that within one a second lock, of asyncio, goes first.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from weakref import WeakValueDictionary

from sfss.errors import Overloaded, StoreRefused, StoreUnusable

#: How long one waits before one looks again whether another process has let go, at first and at most. Seconds.
_FIRST_LOOK, _LONGEST_LOOK = 0.001, 0.05
#: The byte of :meth:`PathLocks.take_office`; those of paths are less.
_OFFICE = 1 << 60
_IS_HELD = (errno.EACCES, errno.EAGAIN)


class PathLocks:
    """*file* is made if it is not there; nothing is ever written into it. *timeout*: seconds to wait for a lock.

    Once it is open, the file must stay: processes that have opened two different ones would not keep each other out.
    """

    def __init__(self, file: Path, timeout: float):
        self._file = file
        self._timeout = timeout
        self._descriptor = -1
        self._identity: os.stat_result
        self._in_here: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def open(self) -> None:
        """:raises StoreUnusable:"""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._file, flags, 0o600)
        except OSError as error:
            raise StoreUnusable(f"Cannot use {self._file}: {error.strerror}.") from error
        self._identity = os.fstat(self._descriptor)

    def close(self) -> None:
        """Let go of all locks of this process."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    @asynccontextmanager
    async def held(self, path: str) -> AsyncIterator[None]:
        """The lock on *path*.

        :raises Overloaded: if somebody else keeps it for too long.
        :raises StoreRefused: if the file is another one now.
        """
        # (Two paths may share a byte: then one waits for the other without need.)
        byte = int.from_bytes(blake2b(path.encode(), digest_size=7).digest())
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                in_here = self._in_here.get(byte)
                if in_here is None:
                    in_here = self._in_here[byte] = asyncio.Lock()
                await in_here.acquire()
                try:
                    pause = _FIRST_LOOK
                    while not self._take(byte):
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _LONGEST_LOOK)
                    deadline.reschedule(None)
                except BaseException:
                    in_here.release()
                    raise
        except TimeoutError:
            raise Overloaded(f"Something else is done with {path!r}, and takes long. Try again.") from None
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, byte)
            in_here.release()

    def take_office(self) -> bool:
        """Become the one process that does what only one has to do, until it ends; whether it is this one."""
        return self._take(_OFFICE)

    def _take(self, byte: int) -> bool:
        self._check()
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _IS_HELD:
                return False
            raise StoreUnusable(f"Cannot lock in {self._file}: {error.strerror}.") from error
        return True

    def _check(self) -> None:
        """:raises StoreRefused: if the file is another one now."""
        try:
            same = os.path.samestat(os.stat(self._file, follow_symlinks=False), self._identity)
        except FileNotFoundError:
            same = False
        if not same:
            raise StoreRefused(
                f"{self._file} was removed or replaced while it was in use: start the gateway again."
            )
