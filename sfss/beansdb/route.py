"""Where keys lie: which nodes have a copy of which bucket.

``route.yaml`` is that of gobeansdb and gobeansproxy: ``numbucket`` (1, 16 or 256), ``main`` (nodes, each with its
buckets), ``backup`` (of no use here). Without one, every node has a copy of everything.
"""

import re
from typing import Any, NamedTuple

import yaml

from sfss.beansdb.hashing import hash_text, key_hash

#: Bits of a key's hash that are the bucket, by the number of buckets.
_BITS = {1: 0, 16: 4, 256: 8}
_ADDRESS = re.compile(r"[A-Za-z0-9_.-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
_HEX = re.compile("[0-9a-fA-F]{1,2}")


class RouteError(ValueError):
    """It cannot be read, or makes no sense; the message says why."""


class Part(NamedTuple):
    """A bucket, or all keys: what the same nodes keep, independently of all others."""

    number: int
    prefix: bytes  #: of the hashes of its keys, hex digits
    members: tuple[str, ...]  #: addresses of its nodes, in order

    def reserved_key(self, name: str) -> bytes:
        """The key in this part under which something of our own is kept. (No path has one that begins so.)"""
        bits, number = len(self.prefix) * 4, 0
        while True:
            key = b"~sfss-%b.%d" % (name.encode(), number)
            if key_hash(key) >> (64 - bits) == self.number:
                return key
            number += 1

    def private_hashes(self) -> set[bytes]:
        """Those of the keys that each node has for itself, and that are never copied."""
        return {hash_text(key_hash(self.reserved_key(name))) for name in (MARK, LEASE, SERVES)}


#: How the keys of :meth:`Part.reserved_key` begin.
RESERVED = b"~sfss-"
#: What each node has for itself: its mark, who repairs it, and what shows that it keeps what it is given.
MARK, LEASE, SERVES = "mark", "repair", "serves"


class Route(NamedTuple):
    parts: tuple[Part, ...]

    @property
    def shift(self) -> int:
        """A key's hash, shifted right by so many bits, is the index of its part."""
        return 64 - _BITS[len(self.parts)]

    @property
    def addresses(self) -> list[str]:
        return sorted({address for part in self.parts for address in part.members})

    def parts_of(self, address: str) -> list[Part]:
        return [part for part in self.parts if address in part.members]

    def check(self, copies: int, quorum: int) -> None:
        """:raises RouteError: if a part has not *copies* nodes (0: any number), or too few for *quorum* (0: most)."""
        for part in self.parts:
            name = f"bucket {part.prefix.decode()}" if part.prefix else "the cluster"
            count = len(part.members)
            if count == 0:
                raise RouteError(f"{name} has no node")
            if copies and count != copies:
                raise RouteError(f"{name} has {count} nodes, and beansdb_copies is {copies}")
            if quorum > count:
                raise RouteError(f"{name} has {count} nodes, and the quorum is {quorum}")
            if quorum and 2 * quorum <= count:
                raise RouteError(
                    f"{name} has {count} nodes: a quorum of {quorum} is no majority, so reads could miss writes"
                )


def route_of(addresses: tuple[str, ...]) -> Route:
    """Every node has everything."""
    return Route((Part(0, b"", tuple(sorted(addresses))),))


def read_route(text: str) -> Route:
    """From the text of a ``route.yaml``. :raises RouteError:"""
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RouteError(f"it is no YAML: {error}") from None
    if not isinstance(table, dict):
        raise RouteError("it is no table with numbucket and main")
    number = table.get("numbucket")
    if not isinstance(number, int) or number not in _BITS:
        raise RouteError(f"numbucket is {number!r}; it must be 1, 16 or 256")
    members: list[list[str]] = [[] for _ in range(number)]
    servers = table.get("main")
    if not isinstance(servers, list) or not servers:
        raise RouteError("there is no node under main")
    for server in servers:
        address, buckets = _server(server)
        for bucket in buckets:
            if not 0 <= bucket < number:
                raise RouteError(f"{address} has the bucket {bucket:x}, and numbucket is {number}")
            if address in members[bucket]:
                raise RouteError(f"{address} has the bucket {bucket:x} twice")
            members[bucket].append(address)
    digits = _BITS[number] // 4
    return Route(
        tuple(
            Part(index, b"%0*x" % (digits, index) if digits else b"", tuple(sorted(addresses)))
            for index, addresses in enumerate(members)
        )
    )


def _server(server: Any) -> tuple[str, list[int]]:
    if not isinstance(server, dict) or not isinstance(server.get("addr"), str):
        raise RouteError(f"{server!r} under main has no addr")
    address, buckets = server["addr"], server.get("buckets")
    if not _ADDRESS.fullmatch(address):
        raise RouteError(f"{address!r} is not an address of the form HOST:PORT")
    if not isinstance(buckets, list):
        raise RouteError(f"{address} has no list of buckets")
    found = []
    for bucket in buckets:
        # (YAML makes a number of an unquoted 10, which is hexadecimal all the same, as gobeansdb reads it.)
        if isinstance(bucket, bool) or not _HEX.fullmatch(str(bucket)):
            raise RouteError(f"{address} has the bucket {bucket!r}; it must be hexadecimal, and in quotes")
        found.append(int(str(bucket), 16))
    return address, found
