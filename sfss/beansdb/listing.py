"""Which files there are: the hash tree names every key by its hash, and a record has the key itself.

So a listing reads the values, too, and is in the order of the hashes.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import NamedTuple

from sfss.beansdb.connection import NodeConnection, Record
from sfss.beansdb.part import Replicas
from sfss.beansdb.route import RESERVED
from sfss.beansdb.tree import entries, leaves
from sfss.beansdb.versions import Seen, is_tombstone
from sfss.memcache.errors import ProxyRefused
from sfss.memcache.keys import memcache_key
from sfss.paths import is_valid_path

#: Seconds for one record; how many are read at once.
_PATIENCE = 10.0
_AT_ONCE = 32


class Found(NamedTuple):
    """A file, or something that a path cannot be given for."""

    hashed: bytes  #: 16 hex digits
    path: str | None  #: None: its path is too long to be in its key, or nobody can read it
    content: bytes | None  #: None: the node keeps it compressed


async def files(replicas: Replicas, after: bytes = b"") -> AsyncIterator[list[Found]]:
    """The files of a part, a few at a time, in the order of their keys' hashes, from behind the hash *after*.

    :raises NoStoreAvailable: if too few nodes can say.
    :raises ProxyError: if one fails meanwhile.
    """
    trusted = replicas.trusted()[: replicas.quorum]
    if len(trusted) < replicas.quorum:
        raise replicas.unavailable()
    connections = [connection for _, connection in trusted]
    async for leaf in leaves(connections, replicas.part.prefix, after):
        newest: dict[bytes, tuple[Seen, list[NodeConnection]]] = {}
        for connection, content in zip(connections, leaf.lines):
            for hashed, seen in entries(content):
                if hashed <= after:
                    continue
                if hashed not in newest or seen.age > newest[hashed][0].age:
                    newest[hashed] = seen, [connection]
                elif seen.age == newest[hashed][0].age:
                    newest[hashed][1].append(connection)
        wanted = [
            (hashed, places)
            for hashed, (seen, places) in sorted(newest.items(), key=_hash)
            if seen.version > 0
        ]
        for start in range(0, len(wanted), _AT_ONCE):
            batch = wanted[start : start + _AT_ONCE]
            found = await asyncio.gather(*(_file(places, hashed) for hashed, places in batch))
            yield [each for each in found if each is not None]


def _hash(item: tuple[bytes, object]) -> bytes:
    return item[0]


async def _file(places: list[NodeConnection], hashed: bytes) -> Found | None:
    """The file, from the first of *places* that can read it; None: there is none any more."""
    for connection in places:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        try:
            record: Record | None = await connection.record(hashed, deadline)
        except ProxyRefused:
            continue  # it cannot be read there; a repair tells of it
        return None if record is None else _found(hashed, record)
    return Found(hashed, None, None)  # it is there, and nobody can say what it is


def _found(hashed: bytes, record: Record) -> Found | None:
    if record.version <= 0 or record.key.startswith(RESERVED):
        return None
    if is_tombstone(record.flags, record.version):
        return None
    return Found(hashed, _path_of(record.key), record.value)


def _path_of(key: bytes) -> str | None:
    """None: the key is a digest of it, or is not ours. (Other programs have keys that look like ours.)"""
    try:
        path = base64.b64decode(key, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return path if is_valid_path(path) and memcache_key(path) == key else None
