"""The aiohttp application: it can answer everything, and be mounted in a site's own.

Behind ``./bin/sfss`` the HTTP engine answers what is about files itself (:mod:`sfss.web.dispatch`), by the same
operations, and leaves the rest to this.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from sfss.completion import is_waited_for
from sfss.errors import InvalidRequest, SfssError, UploadTimeout
from sfss.http.messages import WITHOUT_BODY, Headers, Request, Response
from sfss.metrics.aggregate import Aggregate
from sfss.web.api.description import Api
from sfss.web.auth import Auth
from sfss.web.cors import Cors
from sfss.web.errors import error_response, http_exception_response, internal_error
from sfss.web.operations import MakeOperation
from sfss.web.request_ids import RequestIds
from sfss.web.uploads import check_expectation

log = logging.getLogger("sfss.web")

#: Of requests, and what stands around them. (Ours may return a :class:`Response` of ours, too.)
Handler = Callable[[web.Request], Awaitable[Any]]

#: The request as the rules see it.
REQUEST = web.RequestKey("request", Request)

#: How often what has been counted is pinned on the board, in seconds.
PUBLISH_INTERVAL = 0.25


def common_headers(cors: Cors) -> dict[str, str]:
    """Headers of every answer."""
    return {"Server": "sfss", "X-Content-Type-Options": "nosniff"} | cors.common_headers


def make_app(
    api: Api, auth: Auth, cors: Cors, aggregate: Aggregate, request_ids: RequestIds
) -> web.Application:
    app = web.Application(middlewares=[_around_every_request(api, auth, cors, request_ids)])
    app.on_response_prepare.append(_adding_headers(cors))
    app.add_routes(api.other_routes)
    for path, method, make_operation in api.file_routes:
        handler = _awaited(make_operation, api.upload_timeout)
        app.router.add_route(method, path, handler, expect_handler=_leave_expectation)
    app.cleanup_ctx.append(_publishing(aggregate))
    return app


def _publishing(aggregate: Aggregate) -> Callable[[web.Application], AsyncIterator[None]]:
    async def publishing(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_publishing(aggregate))
        yield
        task.cancel()
        _publish(aggregate, None)  # what was counted since

    return publishing


async def _keep_publishing(aggregate: Aggregate) -> None:
    failure: str | None = None
    while True:
        failure = _publish(aggregate, failure)
        await asyncio.sleep(PUBLISH_INTERVAL)


def _publish(aggregate: Aggregate, failure: str | None) -> str | None:
    """Pin what was counted. What goes wrong is logged once, while it is the same *failure*."""
    try:
        aggregate.publish()
    except Exception as error:  # whatever a source of figures does, there will be a next time
        if repr(error) != failure:
            log.exception("the figures could not be put together")
        return repr(error)
    return None


def _around_every_request(api: Api, auth: Auth, cors: Cors, request_ids: RequestIds) -> Any:
    """The middleware: the doors, a request id, and errors in one form."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        ours = request[REQUEST] = _request_of(request)
        ours.id = request_ids.accept(request.headers.get("X-Request-ID"))
        is_waited_for.set(lambda: request.transport is not None and not request.transport.is_closing())
        response: web.StreamResponse | Response | None
        try:
            check_expectation(ours)
            response = cors.preflight(ours)
            if response is None:
                auth.check(ours)
                response = await handler(request)
        except SfssError as error:
            response = error_response(error)
        except web.HTTPException as error:
            response = http_exception_response(error)
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            response = internal_error(ours.id)  # which nobody sees: the client has gone
        except Exception:
            log.exception("request failed", extra={"request_id": ours.id})
            response = internal_error(ours.id)
        finally:
            if ours.room is not None:
                ours.room.release()
        if isinstance(response, Response):
            response = _response_of(response)
        if "Expect" in request.headers and not request.content.is_eof():
            response.force_close()  # whether the body comes after this answer is the client's choice
        return response

    return middleware


def _adding_headers(cors: Cors) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Adds to each answer, before its head is sent, what all have."""
    common = common_headers(cors)

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        ours = request[REQUEST]
        response.headers.update(common)
        response.headers["X-Request-ID"] = ours.id
        response.headers.update(cors.headers_for(ours))

    return add


def _request_of(request: web.Request) -> Request:
    return Request.of(
        request.method,
        request.raw_path,
        Headers.of(request.raw_headers),
        length=request.content_length,
        has_body=request.can_read_body,
        remote=request.remote or "",
        is_http_1_0=request.version < (1, 1),
    )


def _response_of(response: Response) -> web.Response:
    headers = dict(response.headers())
    if response.status not in WITHOUT_BODY:
        headers["Content-Length"] = str(response.length)
    converted = web.Response(status=response.status, body=bytes(response.body) or None, headers=headers)
    if "Content-Type" not in headers:
        converted.headers.popall("Content-Type", None)
    if response.close:
        converted.force_close()
    return converted


def _awaited(make_operation: MakeOperation, timeout: float) -> Handler:
    """The handler that does what *make_operation* makes of a request."""

    async def handler(request: web.Request) -> Response:
        operation = make_operation(request[REQUEST])
        upload, room = operation.upload, operation.room
        if upload is None:
            return _there(await operation.run())
        try:
            async with asyncio.timeout(timeout):
                await _invite(request)
                async for data in request.content.iter_any():
                    if room is not None:
                        await room.grow(room.taken + len(data))
                    upload.feed(data)
        except TimeoutError:
            raise UploadTimeout(f"The body did not arrive within {timeout:g} s.") from None
        except web.RequestPayloadError as error:
            raise InvalidRequest(f"The body is not framed as the headers say: {error}.") from None
        except (ConnectionError, RuntimeError) as error:
            # aiohttp's StreamReader raises a RuntimeError when it is asked after the connection is gone.
            if isinstance(error, RuntimeError) and request.transport is not None:
                raise
            raise InvalidRequest("The connection was closed before the body was whole.") from None
        operation.content = upload.end()
        return _there(await operation.run())

    return handler


def _there(response: Response | None) -> Response:
    assert response is not None  # only the engine's own requests are answered otherwise
    return response


async def _leave_expectation(request: web.Request) -> None:
    """aiohttp calls this before the handler, when there is an ``Expect``, instead of asking for the
    body itself: that is done once it is known that the body is wanted.
    """


async def _invite(request: web.Request) -> None:
    """Answer ``Expect: 100-continue`` (RFC 9110 10.1.1), now that nothing speaks against the body."""
    if "Expect" in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The interim answer does not count as the beginning of the final one.
        request.writer.output_size = 0
