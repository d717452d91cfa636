"""System calls of Linux that Python's ``os`` does not have."""

import ctypes
import errno
import os

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: To reach what lies in a folder; that takes no right to list it.
PASSING_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: somebody may have put a FIFO there, and opening one waits for its other end.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_OPENAT2 = 437  # on every architecture
_BENEATH = 0x02 | 0x04 | 0x08  # RESOLVE_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH


class _How(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_How),
    ctypes.c_size_t,
)
_HOW = {
    flags: ctypes.pointer(_How(flags, 0, _BENEATH)) for flags in (FOLDER_FLAGS, PASSING_FLAGS, READ_FLAGS)
}
_HOW_AT_ONCE = ctypes.pointer(_How(READ_FLAGS, 0, _BENEATH | 0x20))  # RESOLVE_CACHED, Linux 5.12
_HOW_SIZE = ctypes.sizeof(_How)


def open_beneath(root: int, path: str, flags: int, *, at_once: bool = False) -> int:
    """Open *path*, which is relative, below the folder *root* (openat2(2), Linux 5.6).

    *flags*: one of those above. *at_once*: open it, for reading, only if no disk has to be waited for; an older
    kernel waits all the same.

    :raises OSError: also for a symbolic link. :raises BlockingIOError: if it would have to wait.
    """
    how = _HOW_AT_ONCE if at_once else _HOW[flags]
    descriptor: int = _syscall(_OPENAT2, root, path.encode(), how, _HOW_SIZE)
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    if at_once and number == errno.EINVAL:
        return open_beneath(root, path, flags)
    if number in (errno.ENOSYS, errno.EPERM):  # an older kernel, or a sandbox that does not know it
        return open_by_parts(root, path, flags)
    raise OSError(number, os.strerror(number), path)


def open_by_parts(root: int, path: str, flags: int) -> int:
    """The same, without the kernel's help."""
    folder = root
    *folders, name = path.split("/")
    try:
        for part in folders:
            inner = os.open(part, PASSING_FLAGS, dir_fd=folder)
            if folder != root:
                os.close(folder)
            folder = inner
        return os.open(name, flags, dir_fd=folder)
    finally:
        if folder != root:
            os.close(folder)


def syncfs(descriptor: int) -> None:
    """Return when all of the file system of *descriptor* is on disk (syncfs(2)). :raises OSError:"""
    if _syncfs is None:  # not Linux
        os.sync()
    elif _syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
