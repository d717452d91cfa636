"""One look at every request that has been answered: for the metrics and for the access log."""

import logging
from time import perf_counter
from urllib.parse import unquote

from sfss.http.exchange import Exchange
from sfss.web.auth import Auth
from sfss.web.request_metrics import RequestMetrics

log = logging.getLogger("sfss.access")

#: What the page of a gateway, or of a node, asks for each second: that is no traffic.
OF_THE_PAGE = ("/page.json", "/_page/page.json")
_POLLED = tuple(path + query for path in OF_THE_PAGE for query in ("", "?history=1"))
#: The arguments of signed URLs, in lower case: ours, those of S3 (version 2 has ours), that of Swift.
_SIGNATURES = frozenset(("signature", "x-amz-signature", "x-amz-security-token", "temp_url_sig"))


class AccessLog:
    """Takes note of requests in *request_metrics* and, with *write_lines*, in the log.

    *auth* know whose request it is when it comes through other proxies. Requests to *nodes_path* are of interest to
    nobody but who debugs, as are those by which a page keeps itself up to date.
    """

    def __init__(
        self, request_metrics: RequestMetrics, auth: Auth, *, write_lines: bool, nodes_path: str | None = None
    ):
        self._auth = auth
        self._quiet = frozenset((nodes_path, *_POLLED))
        self._writes_lines = write_lines
        #: A request has been answered: see :meth:`RequestMetrics.record`.
        self.count = request_metrics.record

    def record(self, exchange: Exchange, status: int, bytes_in: int, bytes_out: int) -> None:
        """*exchange* has been answered. Bytes are of the body that came, and of the whole answer."""
        seconds = perf_counter() - exchange.started
        self.count(exchange.route, exchange.method, status, bytes_in, bytes_out, seconds)
        if self._writes_lines:
            log.log(
                logging.DEBUG if exchange.target in self._quiet else logging.INFO,
                "request",
                extra={
                    "method": exchange.method,
                    "target": without_signature(exchange.target),
                    "status": status,
                    "bytes_in": bytes_in,
                    "bytes_out": bytes_out,
                    "ms": round(seconds * 1000, 3),
                    "remote": self._auth.client_address(exchange),
                    "request_id": exchange.id,
                },
            )


def without_signature(target: str) -> str:
    """*target* as it may stand in the log: who reads that shall not be able to use it."""
    start, mark, query = target.partition("?")
    if not mark:
        return target
    parts = (
        f"{name}=***" if unquote(name).lower() in _SIGNATURES else part
        for part, name in ((part, part.partition("=")[0]) for part in query.split("&"))
    )
    return f"{start}?{'&'.join(parts)}"
