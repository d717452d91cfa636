"""What was asked and answered, and whether an honest store could have answered so.

Each path has one writer, which has one write under way at a time. So at any moment there is a version
that was *acknowledged* last, and one that was *tried* last; what a read may return lies between the
first as it was when the read began, and the second as it is when the read ends:

* not an older version than the acknowledged one, and not a missing file, unless a delete lies there;
* not other bytes, of whatever file.

Whether a write that was not acknowledged happens is left open, but not for ever: the next write that
is acknowledged is behind it.

One exception is counted by itself, as *late*: a write that a proxy had read and not yet passed on when
it was stopped, and passes on when it continues, though the gateway has long sent it another way and
newer writes have followed. The memcache protocol has no remedy against that.
"""

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

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


class Wrong(NamedTuple):
    """A read that must not be. Times are on time.monotonic's clock."""

    seen: float
    what: str
    begun: tuple[float, ...] = ()  #: when the writes began that it can have come from


@dataclass
class File:
    """One path, as its writer knows it. Version 0 is that there is no file."""

    path: str
    acknowledged: int = 0
    tried: int = 0
    deletes: set[int] = field(default_factory=lambda: {0})  # the versions that are none
    begun: dict[int, float] = field(default_factory=dict)  # when the write of a version began

    def begin(self, *, delete: bool = False) -> int:
        """The next version, whose write begins now."""
        self.tried += 1
        self.begun[self.tried] = time.monotonic()
        if delete:
            self.deletes.add(self.tried)
        return self.tried


class History:
    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.wrong: list[Wrong] = []
        self.answers: Counter[str] = Counter()
        self.requests = 0

    def file(self, path: str) -> File:
        return self.files.setdefault(path, File(path))

    def say(self, what: str, *begun: float) -> None:
        """That must not be."""
        self.wrong.append(Wrong(time.monotonic(), what, begun))

    def check_read(self, file: File, acknowledged: int, status: int, content: bytes) -> None:
        """A read that began when *acknowledged* was so has ended."""
        if status == 404:
            if not any(acknowledged <= delete <= file.tried for delete in file.deletes):
                self.say(
                    f"{file.path}: 404, but version {acknowledged} was acknowledged",
                    *(file.begun[delete] for delete in file.deletes if delete),
                )
            return
        version = version_in(file.path, content)
        if version is None:
            self.say(f"{file.path}: bytes of no version of it: {content[:80]!r}")
        elif not acknowledged <= version <= file.tried:
            self.say(
                f"{file.path}: version {version}, but {acknowledged} was acknowledged "
                f"(and {file.tried} tried)",
                *(file.begun[v] for v in (version,) if v in file.begun),
            )
