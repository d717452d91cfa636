"""aiohttp's server, with a shutdown that cuts nothing off, and errors in our form.

aiohttp 3.14 drops what arrives of a body once shutdown has begun (``RequestHandler.close`` and
``shutdown`` make ``data_received`` deaf), so an upload under way would never end. Here the
requests under way end first, each answered with ``Connection: close``; idle connections are
closed at once.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sfss.web.errors import problem

#: How often the server looks whether the last request has ended, in seconds.
_LOOK = 0.02
#: How long an answer waits for the client to stop sending a body that nobody wants (seconds):
#: a connection that is closed with unread bytes resets, and the client may never see the answer.
LINGERING_TIME = 2.0


class ClientConnection(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    @property
    def busy(self) -> bool:
        """Whether a request is under way: its head has arrived, and its answer is not yet sent."""
        return self._waiter is None and self.transport is not None

    async def finish_response(self, request, resp, start_time):
        if self._manager is not None and self._manager.draining:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(self, request, status=500, exc=None, message=None):
        """What is not HTTP, and what even the middleware did not catch."""
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("request failed outside its handler", exc_info=exc)
            message = "Something is wrong with sfss itself; its log tells more."
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer is sent already")
        first_line = (message or "").strip().partition("\n")[0]
        response = problem(HTTPStatus(status), f"The request is malformed: {first_line}"
                           if status == HTTPStatus.BAD_REQUEST else first_line)
        response.force_close()
        return response


class Server(web.Server):
    """All clients' connections."""

    draining = False

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        self.draining = True
        for connection in self.connections:
            if not connection.busy:
                connection.close()

    async def shutdown(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                while any(connection.busy for connection in self.connections):
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pass  # those that are left are cut off now
        await super().shutdown(0.1)


class Runner(web.AppRunner):
    """Runs the application on a :class:`Server`."""

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        return Server(
            server.request_handler, request_factory=server.request_factory, **server._kwargs
        )
