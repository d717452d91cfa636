"""What sfss is measured against, each a server of its own:

    python -m bench.references constant PORT SIZE
    python -m bench.references aiomcache PORT MEMCACHED_PORT

``constant``: a plain aiohttp handler that answers SIZE constant bytes, and reads and drops what
is put; on the same loop and with the same number of headers, it is what aiohttp can do at best.

``aiomcache``: sfss itself, but with aiomcache's pool of 16 for its data path.
"""

import asyncio
import socket
import sys

import aiomcache
import uvloop
from aiohttp import web

from sfss.config.gateway import Settings
from sfss.errors import NotFound
from sfss.memcache.keys import memcache_key
from sfss.models import FileInfo, StoredFile, etag_of
from sfss.runtime.malloc import keep_large_blocks
from sfss.service import FileService
from sfss.stores.base import Store
from sfss.web.api.gateway import make_server
from tests.programs import Program, free_port


def start(kind: str, argument: int, *, cpu: int) -> tuple[Program, int]:
    """A reference in a process of its own, and its port."""
    port = free_port()
    program = Program([sys.executable, "-m", "bench.references", kind, port, argument], cpu=cpu)
    program.wait_for_port(port)
    return program, port


class AiomcacheStore(Store):
    """As a first version of a gateway would be written."""

    description = "aiomcache"

    def __init__(self, port: int):
        self._client = aiomcache.Client("127.0.0.1", port, pool_size=16)

    async def get(self, path):
        content = await self._client.get(memcache_key(path))
        if content is None:
            raise NotFound(path)
        return StoredFile(content, etag_of(content))

    async def put(self, path, content, precondition=None):
        await self._client.set(memcache_key(path), bytes(content))
        return FileInfo(len(content), etag_of(content))

    async def delete(self, path, precondition=None):
        await self._client.delete(memcache_key(path))

    async def stat(self, path):
        return (await self.get(path)).info

    async def stats(self):
        return {}

    async def ready(self):
        return None

    async def close(self):
        await self._client.close()


async def serve_aiomcache(port: int, memcached_port: int) -> None:
    service = FileService(AiomcacheStore(memcached_port), max_file_size=4 << 20)
    server = make_server(service, Settings(access_log=False))
    await server.start()
    await server.listen(socket.create_server(("127.0.0.1", port)))


async def serve_constant(port: int, size: int) -> None:
    body = b"x" * size

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/octet-stream")

    async def put(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application(client_max_size=4 << 20)
    app.add_routes([web.get("/file", get), web.put("/file", put)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def main(kind: str, port: int, argument: int) -> None:
    await (serve_constant if kind == "constant" else serve_aiomcache)(port, argument)
    await asyncio.Event().wait()


if __name__ == "__main__":
    keep_large_blocks()
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
