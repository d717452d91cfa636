"""The hash tree of nodes: what several of them have, a leaf at a time, and where they differ.

``get @`` and the first hex digits of hashes gives a line ``KEYHASH VHASH VERSION`` for each key under them, deleted
ones too, or, where there are many, 16 lines ``x/ HASH COUNT`` of what lies one digit further (docs/stores.rst). Those
sums are 16 bits wide, so leaves are compared and not sums.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.route import Part
from sfss.beansdb.versions import Seen
from sfss.memcache.protocol import ProtocolError

_DIGITS = [b"%x" % digit for digit in range(16)]
_HASH_DIGITS = 16
#: Seconds that a node has to list one leaf.
_PATIENCE = 30.0


class Leaf(NamedTuple):
    """What lies under one prefix."""

    prefix: bytes  #: hex digits
    lines: list[bytearray]  #: of each connection, in order


async def leaves(
    connections: Sequence[NodeConnection], prefix: bytes, after: bytes = b""
) -> AsyncIterator[Leaf]:
    """All leaves under *prefix*, in the order of their hashes, beginning with that which has the hash *after* in it.

    :raises ProxyError: when one of the connections fails.
    """
    loop = asyncio.get_running_loop()
    left = [prefix]
    while left:
        at = left.pop()
        deadline = loop.time() + _PATIENCE
        lines = await asyncio.gather(*(_list(connection, at, deadline) for connection in connections))
        if any(_are_branches(content) for content in lines):
            if len(at) >= _HASH_DIGITS:
                raise ProtocolError("the hash tree is deeper than hashes are long")
            left += [at + digit for digit in reversed(_DIGITS) if at + digit >= after[: len(at) + 1]]
        else:
            yield Leaf(at, list(lines))


async def _list(connection: NodeConnection, prefix: bytes, deadline: float) -> bytearray:
    # (A coroutine: one connection that is lost already must not leave the others' answers to nobody.)
    content: bytearray = await connection.list_tree(prefix, deadline)
    return content


def _are_branches(content: bytearray) -> bool:
    return content[1:2] == b"/"


def entries(content: bytearray | bytes) -> list[tuple[bytes, Seen]]:
    """The keys' hashes, in hex digits, and what there is of each. :raises ProtocolError:"""
    return [_entry(line) for line in bytes(content).split(b"\n") if line]


def differences(leaf: Leaf) -> dict[bytes, list[Seen]]:
    """By hash, what each of the connections has, where that is not the same."""
    first = leaf.lines[0]
    if all(content == first for content in leaf.lines):
        return {}
    sets = [frozenset(bytes(content).split(b"\n")) for content in leaf.lines]
    common = frozenset.intersection(*sets)
    found: dict[bytes, list[Seen]] = {}
    for number, lines in enumerate(sets):
        for line in lines - common:
            if line:
                hashed, seen = _entry(line)
                found.setdefault(hashed, [Seen(0, 0)] * len(sets))[number] = seen
    return found


async def unequal(
    connections: Sequence[NodeConnection], part: Part
) -> AsyncIterator[tuple[float, list[tuple[bytes, list[Seen]]]]]:
    """Leaf by leaf: how far it is, 0 to 1, and the keys of which the nodes do not have the same, with what each has.
    (What each node has for itself is left out.)

    :raises ProxyError: when one of the connections fails.
    """
    private = part.private_hashes()
    async for leaf in leaves(connections, part.prefix):
        found = [item for item in differences(leaf).items() if item[0] not in private]
        yield share(leaf.prefix, part.prefix), found


def _entry(line: bytes) -> tuple[bytes, Seen]:
    parts = line.split(b" ")
    try:
        hashed, value_hash, version = parts
        int(hashed, 16)
        seen = Seen(int(version), int(value_hash))
    except ValueError:
        raise ProtocolError("a line of the hash tree is malformed") from None
    if len(hashed) != _HASH_DIGITS:
        raise ProtocolError("a line of the hash tree is malformed")
    return hashed, seen


def share(prefix: bytes, begin: bytes) -> float:
    """How much of what lies under *begin* comes before the leaf *prefix*, 0 to 1."""
    digits = prefix[len(begin) :]
    return int(digits, 16) / 16 ** len(digits) if digits else 0.0
