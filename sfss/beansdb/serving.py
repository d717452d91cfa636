"""Whether a node keeps what it is given."""

import asyncio

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.hashing import hash_text, key_hash
from sfss.beansdb.route import SERVES, Part


async def serves(connection: NodeConnection, part: Part) -> bool:
    """Whether a node keeps what it says that it has stored (docs/stores.rst)."""
    deadline = float("inf")
    key = part.reserved_key(SERVES)
    _, found = await asyncio.gather(
        connection.store(key, hash_text(key_hash(key)), 0, 0, b"yes", deadline),
        connection.fetch(key, deadline),
    )
    return found is not None
