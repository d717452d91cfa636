"""What the server says of itself: ``/status`` to people and scripts, ``/metrics`` to Prometheus,
``/healthz`` and ``/readyz`` to what stands in front of it.
"""

import json
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web

from sfss.errors import InvalidRequest, SfssError
from sfss.http.messages import Response
from sfss.metrics.aggregate import Aggregate
from sfss.metrics.families import Figures
from sfss.models import SERVER_HEADER
from sfss.service import EVENTS, FileService, Shared, Stats
from sfss.web.api.metrics import exposition
from sfss.web.api.openapi import document
from sfss.web.errors import problem
from sfss.web.query import argument
from sfss.web.request_metrics import summary


class Status:
    """*aggregate* has the figures of all workers. *kind* of server: ``gateway`` or ``node``."""

    def __init__(self, service: FileService, aggregate: Aggregate, kind: str = "gateway"):
        self._service = service
        self._aggregate = aggregate
        self._kind = kind
        self._expositions: dict[str, Shared[tuple[bytes, str]]] = {}  # by the Accept of the request

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/status", self.get),
            web.get("/openapi.json", self.openapi),
            *self.routes_of_a_node(),
        ]

    def routes_of_a_node(self) -> list[web.RouteDef]:
        """Those that a node has, too."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.healthy),
            web.get("/readyz", self.ready),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """By proxy address; with ``full=1``, the nodes and the web server instead."""
        wanted = argument(request.rel_url.raw_query_string, "full")
        if wanted not in (None, "0", "1"):
            raise InvalidRequest("The argument 'full' is 0 or 1.")
        if wanted == "1":
            storages = await self._service.node_stats()
            figures = self._aggregate.figures()
            answer: dict[str, Any] = {
                "storages": _of_all(storages, figures),
                "webserver": summary(figures, self._aggregate.server_pid),
            }
        else:
            answer = {**_of_all(await self._service.stats(), self._aggregate.figures())}
        return fresh(json.dumps(answer, indent=2) + "\n", "application/json")

    async def metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        shared = self._expositions.get(accept)
        if shared is None:
            shared = self._expositions[accept] = Shared(partial(self._exposition, accept))
        return fresh(*await shared.answer())

    async def _exposition(self, accept: str) -> tuple[bytes, str]:
        """For all who have asked in one turn of the loop."""
        self._expositions.pop(accept, None)
        return exposition(self._aggregate, accept)

    async def openapi(self, request: web.Request) -> web.Response:
        return fresh(json.dumps(document(self._service.max_file_size)), "application/json")

    async def healthy(self, request: web.Request) -> web.Response:
        """The process lives, whatever its stores do: restarting it would help nobody.

        It says what kind of server this is, for clients that speak to both.
        """
        response = fresh("ok\n", "text/plain")
        response.headers[SERVER_HEADER] = self._kind
        return response

    async def ready(self, request: web.Request) -> Any:
        """It can serve: a store answers. Otherwise 503, so that a balancer asks another one."""
        try:
            await self._service.ready()
        except SfssError as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return fresh("ok\n", "text/plain")


def _of_all(stats: Stats, figures: Figures) -> Stats:
    """*stats* with what each worker counts for itself as the sum of all."""
    events = figures.get(EVENTS)
    for (address, name), number in events.samples.items() if events else ():
        if address in stats:
            stats[address][name] = str(number)
    return stats


def fresh(body: str | bytes, content_type: str) -> web.Response:
    """An answer that nobody on the way may keep."""
    response = fresh_response(body.encode() if isinstance(body, str) else body, content_type)
    return web.Response(body=response.body, headers=dict(response.headers()))


def fresh_response(body: bytes, content_type: str) -> Response:
    """The same as a :class:`Response`."""
    return Response(200, f"Content-Type: {content_type}\r\nCache-Control: no-store\r\n", body)
