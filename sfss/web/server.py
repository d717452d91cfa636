"""All that serves one API over HTTP: the engine, the application beside it, and what both need."""

import socket
import ssl

from aiohttp import web

from sfss.config.server import ServerSettings
from sfss.http.framing import MAX_HEAD_BYTES
from sfss.http.messages import header_lines
from sfss.http.server import Limits, Server
from sfss.metrics.aggregate import Aggregate
from sfss.service import FileService
from sfss.web.access_log import AccessLog
from sfss.web.api.description import Api
from sfss.web.app import common_headers, make_app
from sfss.web.auth import Auth
from sfss.web.bridge import Bridge
from sfss.web.cors import Cors
from sfss.web.dispatch import Dispatcher
from sfss.web.request_ids import RequestIds
from sfss.web.request_metrics import RequestMetrics

#: How long the application's own requests have to end, once those of clients have ended. Seconds.
_APPLICATION_TIMEOUT = 1.0


class WebServer:
    """Serves *service* as *settings* say, with *api* for its URLs. *app* is the application."""

    _engine: Server

    def __init__(
        self,
        api: Api,
        service: FileService,
        settings: ServerSettings,
        auth: Auth,
        cors: Cors,
        aggregate: Aggregate,
    ):
        self.auth = auth
        self._api = api
        self._cors = cors
        self._aggregate = aggregate
        self._request_ids = RequestIds()
        self._settings = settings
        request_metrics = RequestMetrics(aggregate.started, api.of_files)
        aggregate.add_source(request_metrics.families)
        aggregate.add_source(service.families)
        aggregate.add_history(service.history)
        self._access = AccessLog(
            request_metrics, auth, write_lines=settings.access_log, nodes_path=api.nodes_path
        )
        self.app = make_app(api, auth, cors, aggregate, self._request_ids)
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            shutdown_timeout=_APPLICATION_TIMEOUT,
            auto_decompress=False,
            # What the engine has let pass is good enough.
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
        )
        self._is_started = False

    async def start(self) -> None:
        """Get ready, in the running loop."""
        await self._runner.setup()
        assert self._runner.server is not None
        known = frozenset(resource.canonical for resource in self.app.router.resources())
        dispatcher = Dispatcher(
            self._api,
            self.auth,
            self._cors,
            self._access,
            self._request_ids,
            Bridge(self._runner.server),
            known,
        )
        settings = self._settings
        limits = Limits(settings.header_timeout, settings.send_timeout, settings.keepalive_timeout)
        self._engine = Server(dispatcher, limits, header_lines(common_headers(self._cors)))
        self._aggregate.add_source(self._engine.families)
        self._is_started = True

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve who connects to *listener*."""
        await self._engine.listen(listener, tls)

    def stop_listening(self) -> None:
        self._engine.stop_listening()

    async def stop(self) -> None:
        """End what is under way, within the drain timeout, and then all else."""
        if self._is_started:
            await self._engine.drain(self._settings.drain_timeout)
        await self._runner.cleanup()
