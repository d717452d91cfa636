"""Opening below a folder, on kernels that lack one thing or another."""

import ctypes
import errno
import os

import pytest

from sfss.disk import openat


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"content")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def without(monkeypatch, number: int, resolve: int = 0) -> None:
    """The kernel answers *number* to an openat2, or to one with the bit *resolve*."""
    real = openat._syscall

    def syscall(call, folder, path, how, size):
        if not resolve or how.contents.resolve & resolve:
            ctypes.set_errno(number)
            return -1
        return real(call, folder, path, how, size)

    monkeypatch.setattr(openat, "_syscall", syscall)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "kernel", [(0, 0), (errno.ENOSYS, 0), (errno.EPERM, 0), (errno.EINVAL, 0x20)], ids=str
)
def test_it_opens_on_every_kernel(root, monkeypatch, kernel, at_once):
    if kernel[0]:
        without(monkeypatch, *kernel)
    descriptor = openat.open_beneath(root, "a/b/c", openat.READ_FLAGS, at_once=at_once)
    assert os.read(descriptor, 100) == b"content"
    os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        openat.open_beneath(root, "a/none/c", openat.READ_FLAGS)


def test_one_that_would_have_to_wait_says_so(root, monkeypatch):
    without(monkeypatch, errno.EAGAIN, 0x20)
    with pytest.raises(BlockingIOError):
        openat.open_beneath(root, "a/b/c", openat.READ_FLAGS, at_once=True)


def test_a_file_system_that_cannot_be_synced(root, monkeypatch):
    openat.syncfs(root)
    with pytest.raises(OSError):
        openat.syncfs(-1)
    monkeypatch.setattr(openat, "_syncfs", None)
    openat.syncfs(-1)  # not Linux: everything is synced
