"""Bodies that come, and go, piece by piece."""

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from sfss.errors import InvalidRequest, SfssError, UploadTimeout
from sfss.http.messages import Headers
from sfss.models import FileInfo
from sfss.objects.service import Found, Objects
from sfss.web.conditional import is_unchanged, requested_range

log = logging.getLogger("sfss.objects")

_AT_ONCE = 128 * 1024
#: A document has so long to arrive, seconds.
_WHOLE = 60.0


async def received(request: web.Request, timeout: float) -> AsyncIterator[bytes]:
    """What comes of the body of *request*. *timeout*: seconds in which more of it must come.

    :raises UploadTimeout: :raises InvalidRequest: if it ends too early.
    """
    content = request.content
    while True:
        try:
            async with asyncio.timeout(timeout):
                data = await content.readany()
        except TimeoutError:
            raise UploadTimeout(f"Nothing has come for {timeout:g} s.") from None
        except (ConnectionError, web.RequestPayloadError, RuntimeError) as error:
            # aiohttp's StreamReader raises a RuntimeError when it is asked after the connection is gone.
            if isinstance(error, RuntimeError) and request.transport is not None:
                raise
            raise InvalidRequest("The connection was closed before the body was whole.") from None
        if not data:
            return
        yield data


async def whole(request: web.Request, timeout: float, *, most: int) -> bytes:
    """All of the body. :raises InvalidRequest: if it is longer than *most* bytes. Raises as :func:`received`."""
    body = bytearray()
    try:
        async with asyncio.timeout(_WHOLE):
            async for data in received(request, timeout):
                body += data
                if len(body) > most:
                    raise InvalidRequest(f"The body has over {most} bytes.")
    except TimeoutError:
        raise UploadTimeout(f"The body did not arrive within {_WHOLE:g} s.") from None
    return bytes(body)


async def as_bytes(pieces: AsyncIterator[memoryview]) -> AsyncIterator[bytes]:
    """The same, as a body."""
    async for piece in pieces:
        yield bytes(piece)


async def _send(
    request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[memoryview]
) -> None:
    """The head, and the body. :raises SfssError: if the first piece cannot be had: nothing is sent then."""
    first = await anext(pieces, None)
    await response.prepare(request)
    if first is not None:
        await _write(response, first)
        try:
            async for piece in pieces:
                await _write(response, piece)
        except SfssError as error:  # only the end of the connection can tell it now
            log.error("a download was cut off", extra={"path": request.path, "reason": str(error)})
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the object cannot be read") from error
    await response.write_eof()


async def answer_with(
    request: web.Request,
    headers: Headers,
    objects: Objects,
    found: Found,
    info: FileInfo,
    lines: dict[str, str],
) -> web.StreamResponse:
    """The object *found*, or the part of it that *headers* ask for, or that it has not changed. *info*: what the
    conditions are held against. *lines*: the headers of the answer.
    """
    if is_unchanged(headers, info):
        unchanged = {name: lines[name] for name in ("ETag", "Last-Modified")}
        return web.Response(status=304, headers=unchanged)
    part = requested_range(headers, info)
    start, stop = part or (0, found.size)
    if part:
        lines["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
    response = web.StreamResponse(status=206 if part else 200, headers=lines)
    response.content_length = stop - start
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    async with objects.reading(found, start, stop) as pieces:
        await _send(request, response, pieces)
    return response


async def _write(response: web.StreamResponse, piece: memoryview) -> None:
    """In parts: what is on its way to a client that does not read is copied."""
    for start in range(0, len(piece), _AT_ONCE):
        await response.write(piece[start : start + _AT_ONCE])
