"""The application: its routes, and what happens around every request."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter

from aiohttp import web

from sfss.errors import SfssError
from sfss.service import FileService
from sfss.settings import Settings
from sfss.web.access import STARTED
from sfss.web.errors import error_response, http_exception_response, problem
from sfss.web.files import Files
from sfss.web.request_ids import RequestIds
from sfss.web.status import Status
from sfss.web.telemetry import Telemetry

log = logging.getLogger("sfss.web")

Handler = Callable[[web.Request], Awaitable[web.Response]]

#: Headers of every answer.
COMMON_HEADERS = {"Server": "sfss", "X-Content-Type-Options": "nosniff"}


def make_app(
    service: FileService, settings: Settings, telemetry: Telemetry, request_ids: RequestIds
) -> web.Application:
    app = web.Application(middlewares=[_around_every_request(request_ids)])
    app.add_routes(Files(service, upload_timeout=settings.upload_timeout).routes())
    app.add_routes(Status(service, telemetry).routes())
    return app


def _around_every_request(request_ids: RequestIds):
    """The middleware: a request id, and errors in one form."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[STARTED] = perf_counter()
        request_id = request_ids.accept(request.headers.get("X-Request-ID"))
        try:
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
        response.headers.update(COMMON_HEADERS)
        response.headers["X-Request-ID"] = request_id
        return response

    return middleware
