"""Serves one store in two ways, at two ports that it prints: by the HTTP engine, and by the aiohttp application on
aiohttp's own server, as a site would mount it.

    python -m tests.two_ways embedded FOLDER | memcached PORT | node FOLDER
"""

import asyncio
import socket
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from sfss.cli.node import make_node
from sfss.config.credentials import Credentials
from sfss.config.gateway import Settings
from sfss.config.node import NodeSettings
from sfss.memcache.endpoint import Limits
from sfss.metrics.aggregate import Aggregate
from sfss.service import FileService
from sfss.stores.pool import ProxyStore
from sfss.stores.sqlite import SqliteStore
from sfss.web.api.gateway import make_server
from sfss.web.api.nodes import make_node_server


async def main(kind: str, where: str) -> None:
    if kind == "node":
        settings = NodeSettings(
            storage=f"{where}/s", queue=f"{where}/q", names="exact", access_log=False, port=0
        )
        node, _ = make_node(settings)
        await node.start()
        service = FileService(node, max_file_size=settings.max_file_size)
        servers = [make_node_server(node, service, settings, Credentials(), Aggregate()) for _ in range(2)]
    else:
        if kind == "embedded":
            store = SqliteStore(Path(where), request_timeout=5)
        else:
            limits = Limits(8, 1.0, 2.0)
            store = ProxyStore([("127.0.0.1", int(where))], limits=limits, request_timeout=5)
        await store.start()
        service = FileService(store, max_file_size=2 * 1024 * 1024)
        settings = Settings(access_log=False, cors_origin=("https://app.example",))
        servers = [make_server(service, settings) for _ in range(2)]
    engine, application = servers
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    await engine.start()
    await engine.listen(sockets[0])
    runner = web.AppRunner(application.app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.SockSite(runner, sockets[1]).start()
    print("ports", *(s.getsockname()[1] for s in sockets), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
