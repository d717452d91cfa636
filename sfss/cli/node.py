"""``sfss node``: one node of several, in one process."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sfss.config.credentials import Credentials
from sfss.config.node import NodeSettings
from sfss.config.server import fields_of
from sfss.metrics.aggregate import Aggregate
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

#: In the queue's folder: where the node listens, for who works on the same machine.
ADDRESS = "address"


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
            (Path(settings.queue) / ADDRESS).write_text(url)
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
    service = FileService.of(node, settings, has_peers=True)
    server = make_node_server(node, service, settings, credentials, Aggregate())

    async def close_node(app: object) -> None:
        await node.close()

    server.app.on_cleanup.append(close_node)
    return node, server
