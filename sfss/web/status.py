"""``GET /status``: what the stores and the web server say of themselves, as JSON."""

import json

from aiohttp import web

from sfss.errors import InvalidRequest
from sfss.service import FileService
from sfss.web.arguments import argument
from sfss.web.telemetry import Telemetry


class Status:
    def __init__(self, service: FileService, telemetry: Telemetry):
        self._service = service
        self._telemetry = telemetry

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/status", self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """By proxy address; with ``full=1``, the nodes and the web server instead."""
        wanted = argument(request.rel_url.raw_query_string, "full")
        if wanted not in (None, "0", "1"):
            raise InvalidRequest("The argument 'full' is 0 or 1.")
        if wanted == "1":
            figures = {
                "storages": await self._service.node_stats(),
                "webserver": self._telemetry.figures(),
            }
        else:
            figures = await self._service.stats()
        return web.Response(
            text=json.dumps(figures, indent=2) + "\n",
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
