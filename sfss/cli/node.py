"""``sfss node``: one node of several; and ``sfss node verify``. Wires the floors together, as ``cli.py`` does."""

import asyncio
import fcntl
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from sfss.admission import Admission
from sfss.config.credentials import Credentials
from sfss.config.node import NodeSettings
from sfss.config.server import fields_of
from sfss.errors import SettingsError, SfssError
from sfss.metrics.aggregate import Aggregate
from sfss.network_errors import reason_of
from sfss.replication.node import Node
from sfss.replication.transport import HttpTransport
from sfss.runtime import logs, single
from sfss.runtime.malloc import keep_large_blocks
from sfss.runtime.sockets import announce
from sfss.service import FileService
from sfss.web.api.nodes import make_node_server
from sfss.web.exposure import warn_of
from sfss.web.server import WebServer

log = logging.getLogger("sfss")

_POLL = 0.3  # seconds
#: In the queue's folder: where the node listens, for who works on the same machine.
_ADDRESS = "address"


async def serve(load: Callable[[], NodeSettings], reached: Callable[[str], None] = lambda step: None) -> int:
    """Be a node until SIGTERM or SIGINT; returns the exit code. *load* gives the settings anew.

    *reached*: see :class:`sfss.replication.replica.Replica`.

    :raises SfssError: if it cannot start.
    """
    settings = load()
    logs.set_up(settings.log_level)
    keep_large_blocks()
    node, server = make_node(settings, reached)

    async def make_server() -> WebServer:
        await node.start()
        return server

    async def use(new: NodeSettings) -> None:
        credentials = Credentials.of(new)
        ignored = [
            name
            for name, part in fields_of(NodeSettings).items()
            if getattr(new, name) != getattr(settings, name) and not part.metadata["live"]
        ]
        if ignored:
            log.warning("these change at the next start only", extra={"settings": ", ".join(ignored)})
        await node.use_peers(new.peer_urls)
        node.use_secret(credentials.node_secret)
        server.auth.use(new, credentials)
        warn_of(server.auth.warnings)
        logging.getLogger().setLevel(new.log_level.upper())

    def listens(url: str) -> None:
        announce(settings, url, node.description, "/_page/", "/photo.jpeg")
        warn_of(server.auth.warnings)
        try:
            (Path(settings.queue) / _ADDRESS).write_text(url)
        except OSError as error:
            log.warning("sfss node verify will not find this node", extra={"reason": str(error)})

    return await single.run(settings, make_server, load, use, listens)


def make_node(
    settings: NodeSettings, reached: Callable[[str], None] = lambda step: None
) -> tuple[Node, WebServer]:
    """A node, not yet started, and what serves it; the latter closes it."""
    credentials = Credentials.of(settings)
    node = Node(
        settings,
        partial(HttpTransport, credentials.node_secret, settings.proxy, settings.max_file_size),
        reached=reached,
    )
    service = FileService(
        node,
        max_file_size=settings.max_file_size,
        admission=Admission(settings.max_bytes_in_flight, settings.admission_timeout, has_peers=True),
    )
    server = make_node_server(node, service, settings, credentials, Aggregate())

    async def close_node(app: object) -> None:
        await node.close()

    server.app.on_cleanup.append(close_node)
    return node, server


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
        url = (Path(settings.queue) / _ADDRESS).read_text()
    except OSError as error:
        raise SfssError(f"A node runs with this queue, but does not listen yet: {error}") from error
    url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    credentials = Credentials.of(settings)
    # Who may write may read. (If writing needs no token, reading may.)
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
