"""The application: its routes, and what happens around every request."""

import logging
import os
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from itertools import count
from time import perf_counter

from aiohttp import web

from sfss.errors import SfssError
from sfss.service import FileService
from sfss.settings import Settings
from sfss.web.access import STARTED
from sfss.web.errors import error_response, http_exception_response, problem
from sfss.web.files import Files
from sfss.web.status import Status
from sfss.web.telemetry import Telemetry

log = logging.getLogger("sfss.web")

#: The client's own id is kept if it can stand in a log and a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

Handler = Callable[[web.Request], Awaitable[web.Response]]


def make_app(service: FileService, settings: Settings, telemetry: Telemetry) -> web.Application:
    app = web.Application(middlewares=[_around_every_request()])
    app.add_routes(Files(service, upload_timeout=settings.upload_timeout).routes())
    app.add_routes(Status(service, telemetry).routes())
    return app


def _around_every_request():
    """The middleware: a request id, and errors in one form."""
    # Unique among processes and restarts, and cheap: some random bits, then a count.
    prefix = os.urandom(6).hex()
    numbers = count(1)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request.headers.get("X-Request-ID")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = f"{prefix}-{next(numbers)}"
        request[STARTED] = perf_counter()
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
        headers = response.headers
        headers["Server"] = "sfss"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Request-ID"] = request_id
        return response

    return middleware
