"""One look at every request that has been answered: for the figures and for the access log."""

import logging
from collections.abc import Sequence
from time import perf_counter
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from sfss.web.doors import FORWARDED, Doors
from sfss.web.telemetry import Telemetry

log = logging.getLogger("sfss.access")

#: When the request reached the application, on :func:`time.perf_counter`'s clock. (aiohttp's own
#: measure is the event loop's clock, which goes by whole milliseconds in uvloop.)
STARTED = web.RequestKey("started", float)
#: The route that the request has taken, for the figures.
ROUTE = web.RequestKey("route", str)


class Access:
    """Takes note of requests in *telemetry* and, with *write_lines*, in the log.

    *doors* know whose request it is when it comes through other proxies. Requests to *quiet* are of
    interest to nobody but who debugs.
    """

    def __init__(
        self, telemetry: Telemetry, doors: Doors, *, write_lines: bool, quiet: str | None = None
    ):
        self._doors = doors
        self._quiet = quiet
        self.writes_lines = write_lines
        #: A request has been answered: see :meth:`Telemetry.record`.
        self.count = telemetry.record

    def write_line(
        self,
        *,
        method: str,
        target: str,
        status: int,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
        peer: str | None,
        forwarded: Sequence[str],
        request_id: str | None,
    ) -> None:
        """Bytes are of the body that came, and of the whole answer.

        *forwarded*: the lines of its ``X-Forwarded-For``.
        """
        log.log(
            logging.DEBUG if target == self._quiet else logging.INFO,
            "request",
            extra={
                "method": method,
                "target": _without_signature(target),
                "status": status,
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                "ms": round(seconds * 1000, 3),
                "remote": self._doors.client_address(peer, forwarded),
                "request_id": request_id,
            },
        )

    def aiohttp_class(self) -> type[AbstractAccessLogger]:
        """What aiohttp wants to have: a class, of which it makes one object a connection."""
        access = self

        class AccessLogger(AbstractAccessLogger):
            def log(
                self, request: web.BaseRequest, response: web.StreamResponse, time: float
            ) -> None:
                now = perf_counter()
                seconds = now - request.get(STARTED, now)
                route, method = request.get(ROUTE, "other"), request.method
                bytes_in, bytes_out = request.content.total_bytes, response.body_length
                access.count(route, method, response.status, bytes_in, bytes_out, seconds)
                if access.writes_lines:
                    access.write_line(
                        method=method,
                        target=request.raw_path,
                        status=response.status,
                        bytes_in=bytes_in,
                        bytes_out=bytes_out,
                        seconds=seconds,
                        peer=request.remote,
                        forwarded=request.get(FORWARDED, ()),
                        request_id=response.headers.get("X-Request-ID"),
                    )

        return AccessLogger


def _without_signature(target: str) -> str:
    """*target* as it may stand in the log: who reads that shall not be able to use it."""
    start, mark, query = target.partition("?")
    if not mark:
        return target
    parts = (
        "signature=***" if unquote(part.partition("=")[0]) == "signature" else part
        for part in query.split("&")
    )
    return f"{start}?{'&'.join(parts)}"
