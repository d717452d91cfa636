"""Answers requests that come by the HTTP engine: those for files at once, all others by the application."""

import asyncio
import logging
from typing import Any

from sfss.completion import is_waited_for
from sfss.errors import SfssError
from sfss.http.exchange import Exchange
from sfss.http.handler import Handler
from sfss.http.messages import Response, header_lines
from sfss.web.access_log import AccessLog
from sfss.web.api.description import Api
from sfss.web.auth import Auth
from sfss.web.bridge import Bridge
from sfss.web.cors import Cors
from sfss.web.errors import error_response, internal_error
from sfss.web.operations import Operation
from sfss.web.request_ids import RequestIds
from sfss.web.uploads import Upload, check_expectation

log = logging.getLogger("sfss.web")


class Dispatcher(Handler):
    """*routes*: the paths that the application knows, for the metrics."""

    def __init__(
        self,
        api: Api,
        auth: Auth,
        cors: Cors,
        access: AccessLog,
        request_ids: RequestIds,
        bridge: Bridge,
        routes: frozenset[str],
    ):
        self._find = api.find
        self._upload_timeout = api.upload_timeout
        self._auth = auth
        self._cors = cors
        self._access = access
        self._request_ids = request_ids
        self._bridge = bridge
        self._routes = routes
        self._tasks: set[asyncio.Task[Any]] = set()

    # The engine's handler.

    def begin(self, exchange: Exchange) -> None:
        headers = exchange.headers.raw
        if "x-request-id" in headers:
            exchange.id = self._request_ids.accept(exchange.headers.get("x-request-id"))
        try:
            if "expect" in headers:
                exchange.invites = exchange.has_body and not exchange.is_http_1_0
                check_expectation(exchange)
            found = self._find(exchange)
            if found is None:
                self._bridge.begin(exchange, self._request_ids)
                return
            if "origin" in headers:
                exchange.more_lines = header_lines(self._cors.headers_for(exchange))
            make_operation, exchange.route = found
            if not (self._auth.reads_are_free and exchange.method in ("GET", "HEAD")):
                self._auth.check(exchange)
            operation = make_operation(exchange)
        except SfssError as error:
            exchange.fail(error)
            return
        operation.go_on = self._go_on
        operation.exchange = exchange
        exchange.is_write = operation.is_write
        if operation.upload is None:
            self.start(operation)
        else:
            arrival = _Arrival(self, operation, operation.upload)
            exchange.receive(arrival, timeout=self._upload_timeout, most=operation.upload.most)

    def refusal(self, error: Exception, request_id: str) -> Response:
        if isinstance(error, SfssError):
            return error_response(error)
        log.error("request failed", extra={"request_id": request_id}, exc_info=error)
        return internal_error(request_id)

    def answered(self, exchange: Exchange, status: int, bytes_in: int, bytes_out: int) -> None:
        if not exchange.route:
            is_known = exchange.path in self._routes and status not in (404, 405)
            exchange.route = exchange.path if is_known else "other"
        self._access.record(exchange, status, bytes_in, bytes_out)

    def refused(self, status: int, bytes_out: int, seconds: float) -> None:
        self._access.count("other", "other", status, 0, bytes_out, seconds)

    def new_id(self) -> str:
        return self._request_ids.new()

    # Operations.

    def _go_on(self, operation: Operation) -> None:
        task = asyncio.get_running_loop().create_task(self._run(operation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def start(self, operation: Operation) -> None:
        """Begin *operation*, whose body is here."""
        try:
            begun = operation.begin()
        except Exception as error:
            operation.exchange.fail(error)
            return
        if not begun:
            self._go_on(operation)

    async def _run(self, operation: Operation) -> None:
        exchange = operation.exchange
        is_waited_for.set(exchange.client_waits)
        try:
            response = await operation.run()
        except Exception as error:
            exchange.fail(error)
        else:
            if response is not None:
                exchange.respond(response)


class _Arrival:
    """The body of a request, on its way to its operation (:class:`sfss.http.exchange.BodySink`)."""

    __slots__ = ("_dispatcher", "_operation", "_upload")

    def __init__(self, dispatcher: Dispatcher, operation: Operation, upload: Upload):
        self._dispatcher = dispatcher
        self._operation = operation
        self._upload = upload

    def feed(self, data: bytes) -> None:
        self._upload.feed(data)

    def end(self) -> None:
        operation = self._operation
        try:
            operation.content = self._upload.end()
        except Exception as error:
            self.fail(error)
            return
        self._dispatcher.start(operation)

    def fail(self, error: Exception) -> None:
        self._operation.exchange.fail(error)
