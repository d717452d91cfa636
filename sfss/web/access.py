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


class Access:
    """Takes note of requests in *telemetry* and, with *write_lines*, in the log."""

    def __init__(self, telemetry: Telemetry, *, write_lines: bool):
        self._telemetry = telemetry
        self._write_lines = write_lines

    def note(
        self,
        *,
        method: str,
        target: str,
        status: int,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
        remote: str | None,
        request_id: str | None,
    ) -> None:
        """A request has been answered. Bytes are of the body that came, and of the whole answer."""
        self._telemetry.record(status, bytes_in, bytes_out, seconds)
        if self._write_lines:
            log.info(
                "request",
                extra={
                    "method": method,
                    "target": target,
                    "status": status,
                    "bytes_in": bytes_in,
                    "bytes_out": bytes_out,
                    "ms": round(seconds * 1000, 3),
                    "remote": remote,
                    "request_id": request_id,
                },
            )

    def aiohttp_class(self) -> type[AbstractAccessLogger]:
        """What aiohttp wants to have: a class, of which it makes one object a connection."""
        note = self.note

        class AccessLogger(AbstractAccessLogger):
            def log(
                self, request: web.BaseRequest, response: web.StreamResponse, time: float
            ) -> None:
                now = perf_counter()
                note(
                    method=request.method,
                    target=request.raw_path,
                    status=response.status,
                    bytes_in=request.content.total_bytes,
                    bytes_out=response.body_length,
                    seconds=now - request.get(STARTED, now),
                    remote=request.remote,
                    request_id=response.headers.get("X-Request-ID"),
                )

        return AccessLogger
