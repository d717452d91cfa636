"""What tells contents apart, and what clients know them by.

SHA-1 can be collided on purpose (https://shattered.io): it is the part of a generated name and the value of
``X-Content-SHA1`` that clients rely on, and decides nothing. Whether two contents are the same is decided
by SHA-256 alone.
"""

import re
from hashlib import sha1, sha256
from typing import NamedTuple

_SHA256 = re.compile("[0-9a-f]{64}")
_SHA1 = re.compile("[0-9a-f]{40}")


class Digests(NamedTuple):
    sha256: str  #: 64 hex digits: the identity of the content
    sha1: str  #: 40 hex digits: for clients only

    @property
    def are_valid(self) -> bool:
        return (
            type(self.sha256) is str
            and type(self.sha1) is str
            and bool(_SHA256.fullmatch(self.sha256) and _SHA1.fullmatch(self.sha1))
        )


def digests_of(content: bytes | bytearray | memoryview) -> Digests:
    return Digests(sha256(content).hexdigest(), sha1(content).hexdigest())


def is_content(content: bytes | bytearray | memoryview | None, digests: Digests | None) -> bool:
    """Whether *content* is the one that *digests* name. A deleted file (``None``) has none."""
    if content is None or digests is None:
        return False
    return sha256(content).hexdigest() == digests.sha256


def are_same(one: Digests | None, other: Digests | None) -> bool:
    """Whether both name the same content. A deleted file (``None``) has none."""
    return one is not None and other is not None and one.sha256 == other.sha256
