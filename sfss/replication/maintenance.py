"""What a node does for itself in the background."""

import asyncio
import logging
import time
from functools import partial

from sfss.replication.clock import stamp_of
from sfss.replication.engine import Engine
from sfss.replication.replica import Replica

log = logging.getLogger("sfss.node")

#: The log of changes is cut when it has so many bytes, or is so old (seconds).
CHECKPOINT_BYTES = 16 * 1024 * 1024
CHECKPOINT_AGE = 20.0
_MOST_FORGOTTEN = 500


async def keep_log_short(replica: Replica, engine: Engine) -> None:
    """Sync the folder now and then, and cut the log; mend it, if the disk has failed."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.5)
        size, age = replica.log_bytes, time.monotonic() - last
        if replica.broken is not None:
            await engine.run(replica.mend)
        elif size > CHECKPOINT_BYTES or (size and age > CHECKPOINT_AGE):
            try:
                begun = await engine.run(replica.begin_checkpoint)
                await asyncio.to_thread(_write_back, replica)
                await engine.run(partial(replica.end_checkpoint, begun))
            except Exception as error:  # the log stays, and nothing is lost
                log.error("the log of changes cannot be cut", extra={"reason": str(error)})
                await asyncio.sleep(5.0)
            last = time.monotonic()


def _write_back(replica: Replica) -> None:
    replica.catalog.write_back()
    replica.folder.sync()


async def keep_forgetting(replica: Replica, engine: Engine, lifetime: float) -> None:
    """Forget deletes that all neighbours have known of for *lifetime* seconds."""
    while True:
        before = stamp_of(max(time.time() - lifetime, 0))
        forgotten = 0
        try:
            forgotten = await engine.run(partial(replica.forget, before, _MOST_FORGOTTEN))
        except Exception as error:  # there will be a next time
            log.error("deletes cannot be forgotten", extra={"reason": str(error)})
        if forgotten < _MOST_FORGOTTEN:
            await asyncio.sleep(min(max(lifetime / 10, 0.1), 600.0))
