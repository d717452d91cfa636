"""What was asked and answered, and whether an honest store could have answered so.

Each path has one writer, which has one write under way at a time. So at any moment there is a version
that was *acknowledged* last, and one that was *tried* last; what a read may return lies between the
first as it was when the read began, and the second as it is when the read ends:

* not an older version than the acknowledged one, and not a missing file, unless a delete lies there;
* not other bytes, of whatever file.

Whether a write that was not acknowledged happens is left open, but not for ever: the next write that
is acknowledged is behind it.
"""

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

_BLOCK = random.Random(20261120).randbytes(1 << 20)
_HEAD = re.compile(rb"([^|]{1,200})\|(\d+)\|(\d+)\|")


def content_of(path: str, version: int, size: int) -> bytes:
    """The bytes of this version of this file, and of no other: about *size* of them."""
    head = f"{path}|{version}|{size}|".encode()
    start = hash((path, version)) % (len(_BLOCK) // 2)
    return head + _BLOCK[start : start + size]


def version_in(path: str, content: bytes) -> int | None:
    """Which version of *path* that is, None if it is none."""
    head = _HEAD.match(content)
    if head is None or head[1] != path.encode():
        return None
    version = int(head[2])
    return version if content == content_of(path, version, int(head[3])) else None


@dataclass
class File:
    """One path, as its writer knows it. Version 0 is that there is no file."""

    path: str
    acknowledged: int = 0
    tried: int = 0
    deletes: set[int] = field(default_factory=lambda: {0})  # the versions that are none


class History:
    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.wrong: list[tuple[float, str]] = []  # when it was seen, on time.monotonic's clock
        self.answers: Counter[str] = Counter()
        self.requests = 0

    def file(self, path: str) -> File:
        return self.files.setdefault(path, File(path))

    def say(self, what: str) -> None:
        """That must not be."""
        self.wrong.append((time.monotonic(), what))

    def check_read(self, file: File, acknowledged: int, status: int, content: bytes) -> None:
        """A read that began when *acknowledged* was so has ended."""
        if status == 404:
            if not any(acknowledged <= delete <= file.tried for delete in file.deletes):
                self.say(f"{file.path}: 404, but version {acknowledged} was acknowledged")
            return
        version = version_in(file.path, content)
        if version is None:
            self.say(f"{file.path}: bytes of no version of it: {content[:80]!r}")
        elif not acknowledged <= version <= file.tried:
            self.say(
                f"{file.path}: version {version}, but {acknowledged} was acknowledged "
                f"(and {file.tried} tried)"
            )
