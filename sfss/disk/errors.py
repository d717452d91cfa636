"""What a disk's refusal means to a client: the one place that finds words for it."""

import errno

from sfss.errors import Overloaded, SfssError, StoreFull, StoreRefused

#: There is no room on the disk, or no more of it for this user.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: The process has used up its descriptors, or its memory: it is not the disk.
TOO_MUCH = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: It is the disk, and not this one file.
DISK_FAILS = (errno.EIO, errno.EROFS, errno.ESTALE, *FULL)


def full() -> StoreFull:
    return StoreFull("The disk is full; reading and deleting go on. Nothing was changed.")


def refusal(error: OSError, *, may_have_happened: bool = False) -> SfssError:
    """The error for a client. *may_have_happened*: it was a write, and nobody can say what has become of it."""
    if error.errno in FULL:
        return full()
    if error.errno in TOO_MUCH:
        return Overloaded(
            f"The server cannot open more files at the moment ({error.strerror}). Try again in a second."
        )
    reason = f"The disk refused: {error.strerror}."
    return StoreRefused(f"{reason} A write may have happened." if may_have_happened else reason)
