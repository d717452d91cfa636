"""What the server says of itself: ``/status`` to people, ``/healthz`` and ``/readyz`` to machines."""

import json
from http import HTTPStatus

from aiohttp import web

from sfss.errors import InvalidRequest, SfssError
from sfss.service import FileService
from sfss.web.arguments import argument
from sfss.web.errors import problem
from sfss.web.telemetry import Telemetry


class Status:
    def __init__(self, service: FileService, telemetry: Telemetry):
        self._service = service
        self._telemetry = telemetry

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/status", self.get),
            web.get("/healthz", self.healthy),
            web.get("/readyz", self.ready),
        ]

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
        return _fresh(json.dumps(figures, indent=2) + "\n", "application/json")

    async def healthy(self, request: web.Request) -> web.Response:
        """The process lives, whatever its stores do: restarting it would help nobody."""
        return _fresh("ok\n", "text/plain")

    async def ready(self, request: web.Request) -> web.Response:
        """It can serve: a store answers. Otherwise 503, so that a balancer asks another one."""
        try:
            await self._service.ready()
        except SfssError as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _fresh("ok\n", "text/plain")


def _fresh(text: str, content_type: str) -> web.Response:
    """An answer that nobody on the way may keep."""
    return web.Response(
        text=text, content_type=content_type, headers={"Cache-Control": "no-store"}
    )
