"""``sfss node verify``: reads every file of a node again, by the running node if there is one."""

import asyncio
import fcntl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from sfss.cli.node import ADDRESS, make_node
from sfss.config.credentials import Credentials
from sfss.config.node import NodeSettings
from sfss.errors import SettingsError, SfssError
from sfss.network_errors import reason_of
from sfss.runtime import logs

_POLL = 0.3  # seconds


async def verify(load: Callable[[], NodeSettings]) -> int:
    """Read every file again, heal what is damaged, and compare with the others; returns the exit code.

    The node that runs over the same folders does it, if there is one.
    """
    settings = load()
    logs.set_up(settings.log_level)
    if _runs(Path(settings.queue)):
        result = await _verified_by_the_running_one(settings)
    else:
        result = await _verified_here(settings)
    left = result["damaged"] - result["healed"]
    others = len(settings.peer_urls)
    print(
        f"{result['checked']} files checked, {result['damaged']} damaged or missing, "
        f"{result['healed']} healed, {result['adopted']} found that were not in the catalog, "
        f"{result['foreign']} things in the folder that are not the node's; "
        f"compared with {result['compared']} of {others} other nodes"
    )
    complaints = []
    if result["failure"]:
        complaints.append(f"the verification failed: {result['failure']}")
    if left:
        complaints.append(f"{left} files could not be healed; the log names them")
    if result["deleted"]:
        complaints.append(f"{result['deleted']} files that were deleted lie in the folder again; see the log")
    if result["unreadable"]:
        complaints.append(f"{result['unreadable']} files or folders could not be read; the log names them")
    if result["compared"] < others:
        complaints.append("not all other nodes could be reached")
    for complaint in complaints:
        print(f"sfss: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def _runs(queue: Path) -> bool:
    """Whether a node runs that has *queue*."""
    try:
        with open(queue / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise SettingsError(f"queue: {queue} cannot be used: {error.strerror}") from error
    return False


async def _verified_here(settings: NodeSettings) -> dict[str, Any]:
    node, _ = make_node(settings)
    await node.start()
    try:
        node.scrub.start()
        await node.scrub.wait()
        return node.scrub.progress()
    finally:
        await node.close()


async def _verified_by_the_running_one(settings: NodeSettings) -> dict[str, Any]:
    try:
        url = (Path(settings.queue) / ADDRESS).read_text()
    except OSError as error:
        raise SfssError(f"A node runs with this queue, but does not listen yet: {error}") from error
    url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    credentials = Credentials.of(settings)
    # Write tokens also allow reading. (If writing needs no token, reading may.)
    tokens = credentials.write_tokens or credentials.read_tokens
    headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
    try:
        # It is this machine's own: its certificate has the name that clients know it by.
        connector = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
            async with session.post("/_verify") as answer:
                if answer.status != 202:
                    raise SfssError(f"{url} answers {answer.status}: {await answer.text()}")
            while True:
                async with session.get("/_status") as answer:
                    if answer.status != 200:
                        raise SfssError(f"{url} answers {answer.status}: {await answer.text()}")
                    progress: dict[str, Any] = (await answer.json())["verification"]
                if not progress["running"]:
                    return progress
                await asyncio.sleep(_POLL)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SfssError(f"A node runs with this queue, but not at {url}: {reason_of(error)}.") from error
