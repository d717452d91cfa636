"""A hash tree over the names and versions of all files: whether two nodes have the same, and where not.

A Merkle tree of three levels (Merkle, "A Digital Signature Based on a Conventional Encryption
Function", 1987): the root, 256 branches, and 256 leaves to each branch. A file belongs to the leaf
that the hash of its path names. The digest of a leaf is the sum of those of its files, so a change
costs the same whatever else is there.

Deleted files are not in it: nodes forget them at different times, and are the same all the same.

The digests are BLAKE2b (RFC 7693), so that nobody can choose files that make different nodes look the same.
Which leaf a file belongs to decides nothing, and is left to a faster hash.
"""

from array import array
from hashlib import blake2b

import xxhash

from sfss.replication.clock import Version

FAN = 256
LEAVES = FAN * FAN
_WORD = (1 << 64) - 1


def leaf_of(path: str) -> int:
    return xxhash.xxh3_64_intdigest(path.encode()) >> 48


def digest_of(path: str, version: Version, sha256: str) -> int:
    """What a file adds to its leaf. *sha256*: that of its content, in hex."""
    return _digest(f"{path}\0{version.stamp}\0{version.node}\0{sha256}".encode())


def _digest(data: bytes | memoryview) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())


class MerkleTree:
    """Of no files, at first."""

    def __init__(self) -> None:
        self.leaves = array("Q", bytes(8 * LEAVES))  #: their digests

    def add(self, leaf: int, digest: int) -> None:
        self.leaves[leaf] = (self.leaves[leaf] + digest) & _WORD

    def take(self, leaf: int, digest: int) -> None:
        self.leaves[leaf] = (self.leaves[leaf] - digest) & _WORD

    def reset(self, leaf: int, digests: int) -> None:
        """*digests*: the sum of those of its files."""
        self.leaves[leaf] = digests & _WORD

    def root(self) -> int:
        return _digest(array("Q", self.branches()).tobytes())

    def branches(self) -> list[int]:
        data = memoryview(self.leaves).cast("B")
        size = 8 * FAN
        return [_digest(data[start : start + size]) for start in range(0, 8 * LEAVES, size)]

    def branch_bytes(self, branch: int) -> bytes:
        """The leaves of *branch*, to be kept somewhere for :meth:`set_branch`."""
        return self.leaves[branch * FAN : (branch + 1) * FAN].tobytes()

    def set_branch(self, branch: int, leaves: bytes) -> None:
        self.leaves[branch * FAN : (branch + 1) * FAN] = array("Q", leaves)

    def leaves_of(self, branch: int) -> list[int]:
        """The digests of the leaves of *branch*."""
        return self.leaves[branch * FAN : (branch + 1) * FAN].tolist()
