"""The application: its routes, and what happens around every request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http import HTTPStatus
from time import perf_counter

from aiohttp import web

from sfss.errors import InvalidRequest, SfssError
from sfss.panel import Panel
from sfss.receivers import is_waited_for
from sfss.web.access import ROUTE, STARTED
from sfss.web.cors import Cors
from sfss.web.doors import FORWARDED, Doors
from sfss.web.errors import error_response, http_exception_response, problem
from sfss.web.request_ids import RequestIds

log = logging.getLogger("sfss.web")

Handler = Callable[[web.Request], Awaitable[web.Response]]

#: How often what has been counted is pinned on the board, in seconds.
PUBLISH_INTERVAL = 0.25


def common_headers(cors: Cors) -> dict[str, str]:
    """Headers of every answer."""
    return {"Server": "sfss", "X-Content-Type-Options": "nosniff"} | cors.common_headers


def make_app(
    routes: Iterable[web.RouteDef], doors: Doors, cors: Cors, panel: Panel, request_ids: RequestIds
) -> web.Application:
    app = web.Application(middlewares=[_around_every_request(doors, cors, request_ids)])
    app.add_routes(routes)
    app.cleanup_ctx.append(_publishing(panel))
    return app


def _publishing(panel: Panel):
    async def publishing(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_publishing(panel))
        yield
        task.cancel()
        _publish(panel, None)  # what was counted since

    return publishing


async def _keep_publishing(panel: Panel) -> None:
    failure: str | None = None
    while True:
        failure = _publish(panel, failure)
        await asyncio.sleep(PUBLISH_INTERVAL)


def _publish(panel: Panel, failure: str | None) -> str | None:
    """Pin what was counted. What goes wrong is logged once, while it is the same *failure*."""
    try:
        panel.publish()
    except Exception as error:  # whatever a source of figures does, there will be a next time
        if repr(error) != failure:
            log.exception("the figures could not be put together")
        return repr(error)
    return None


def _around_every_request(doors: Doors, cors: Cors, request_ids: RequestIds):
    """The middleware: the doors, a request id, and errors in one form."""
    common = common_headers(cors)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[STARTED] = perf_counter()
        is_waited_for.set(request.protocol.client_waits)
        request[FORWARDED] = request.headers.getall("X-Forwarded-For", [])
        if (resource := request.match_info.route.resource) is not None:
            request[ROUTE] = resource.canonical
        request_id = request_ids.accept(request.headers.get("X-Request-ID"))
        try:
            response = cors.preflight(request)
            if response is None:
                _check_framing(request)
                doors.check(request)
                response = await handler(request)
        except SfssError as error:
            response = error_response(error)
        except web.HTTPException as error:
            response = http_exception_response(error)
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            response = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"Something is wrong with sfss itself; its log tells more of {request_id}.",
            )
        if "Expect" in request.headers and not request.content.is_eof():
            response.force_close()  # whether the body comes after this answer is the client's choice
        response.headers.update(common)
        response.headers["X-Request-ID"] = request_id
        cors.answer(request, response)
        return response

    return middleware


def _check_framing(request: web.Request) -> None:
    """:raises InvalidRequest: if somebody on the way could see another end of the body than we do."""
    # RFC 9112 6.1: "ought to be handled as an error"; it is how requests are smuggled.
    if "Transfer-Encoding" in request.headers and "Content-Length" in request.headers:
        raise InvalidRequest("A request has a Content-Length or a Transfer-Encoding, not both.")
