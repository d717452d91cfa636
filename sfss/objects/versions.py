"""Versions of objects: what a container keeps when an object is replaced or deleted, as S3 wants it.

An object has a version of its own when its container is *enabled*; without one it is the null version. A container that
is *suspended* keeps what has a version, and replaces the null one. A delete leaves a marker, which is a version, too.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html.
"""

import os
from typing import NamedTuple

from sfss.objects.clock import now_us
from sfss.objects.models import ObjectInfo

OFF, ENABLED, SUSPENDED = 0, 1, 2
#: Greater than any time.
LATEST = 2**62
_FUTURE = 2**56


class Version(NamedTuple):
    """One in a listing. *path*: its place there, behind newer ones of its name."""

    path: str
    info: ObjectInfo
    is_marker: bool
    is_latest: bool


class Deleted(NamedTuple):
    """What a delete has come to: *version* is the one that is gone, or the marker that is there now."""

    version: str
    is_marker: bool


def new_version() -> str:
    """An id that nobody guesses. Newer ones are less."""
    return f"{_FUTURE - now_us():014x}{os.urandom(5).hex()}"


def place_of(name: str, modified: int) -> str:
    """What stands for a version in the order of a listing: by name, the newest first.

    (Of letters that no delimiter has: a listing finds the ends of folders in it.)
    """
    return f"{name}\0" + "".join(chr(1 + int(digit, 16)) for digit in f"{LATEST - modified:016x}")


def bound_in(place: str) -> tuple[str, int]:
    """From where on a listing goes: the name, and of that name what is older than the time."""
    name, null, rest = place.partition("\0")
    if not null:
        return name, LATEST
    return name, LATEST - int(
        "".join(f"{ord(letter) - 1:x}" for letter in rest[:16] if letter != "\0") or "0", 16
    )


def behind_all(name: str) -> str:
    """The place behind all versions of *name*."""
    return place_of(name, 0)
