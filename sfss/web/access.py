"""One look at every request that has been answered: for the figures and for the access log."""

import logging
from time import perf_counter

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from sfss.web.telemetry import Telemetry

log = logging.getLogger("sfss.access")

#: When the request reached the application, on :func:`time.perf_counter`'s clock. (aiohttp's own
#: measure is the event loop's clock, which goes by whole milliseconds in uvloop.)
STARTED = web.RequestKey("started", float)


def access_logger(telemetry: Telemetry, write_lines: bool) -> type[AbstractAccessLogger]:
    """The class of access logger for aiohttp, bound to *telemetry*."""

    class AccessLogger(AbstractAccessLogger):
        def log(
            self, request: web.BaseRequest, response: web.StreamResponse, time: float
        ) -> None:
            now = perf_counter()
            seconds = now - request.get(STARTED, now)
            bytes_in = request.content.total_bytes
            telemetry.record(response.status, bytes_in, response.body_length, seconds)
            if write_lines:
                log.info(
                    "request",
                    extra={
                        "method": request.method,
                        "target": request.raw_path,
                        "status": response.status,
                        "bytes_in": bytes_in,
                        "bytes_out": response.body_length,
                        "ms": round(seconds * 1000, 3),
                        "remote": request.remote,
                        "request_id": response.headers.get("X-Request-ID"),
                    },
                )

    return AccessLogger
