"""The ``stats`` of memcache servers, through aiomcache: off the data path, rarely asked.

Each call has a connection of its own and closes it: aiomcache puts a connection back into its
pool even when its reply is still to come (aiomcache issue 489), so none is ever used twice.
"""

import asyncio

import aiomcache


async def stats_of(servers: list[tuple[str, int]], timeout: float) -> list[dict[str, str]]:
    """Names to values, both as text, of each server, in order; ``{}`` of one that fails.

    All are asked at once; each has *timeout* seconds.
    """
    return await asyncio.gather(*(_stats(host, port, timeout) for host, port in servers))


async def _stats(host: str, port: int, timeout: float) -> dict[str, str]:
    client = aiomcache.Client(host, port, pool_size=1)
    try:
        async with asyncio.timeout(timeout):
            answer = await client.stats()
    except (OSError, TimeoutError, aiomcache.ClientException, aiomcache.ValidationException):
        return {}
    except (ValueError, IndexError):  # aiomcache's own words for a malformed answer
        return {}
    finally:
        await client.close()
    return {_text(name): _text(value or b"") for name, value in answer.items()}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
