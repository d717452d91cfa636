"""What stands around the files of a tar archive that is made."""

import tarfile

#: The end of an archive.
END = bytes(2 * tarfile.BLOCKSIZE)


def entry(path: str, size: int, modified: int) -> bytes:
    """What stands before a file of *size* bytes. *modified*: seconds since the epoch."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, modified
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    """What stands behind it."""
    return bytes(-size % tarfile.BLOCKSIZE)
