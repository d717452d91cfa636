"""Bodies that come, and go, piece by piece."""

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from sfss.errors import InvalidRequest, SfssError, UploadTimeout

log = logging.getLogger("sfss.objects")


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
        except (ConnectionError, web.RequestPayloadError) as error:
            raise InvalidRequest(f"The body was cut off: {error}.") from None
        if not data:
            return
        yield data


async def as_bytes(pieces: AsyncIterator[memoryview]) -> AsyncIterator[bytes]:
    """The same, as a body."""
    async for piece in pieces:
        yield bytes(piece)


async def send(request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[memoryview]) -> None:
    """The head, and the body. :raises SfssError: if the first piece cannot be had: nothing is sent then."""
    first = await anext(pieces, None)
    await response.prepare(request)
    if first is not None:
        await response.write(first)
        try:
            async for piece in pieces:
                await response.write(piece)
        except SfssError as error:  # only the end of the connection can tell it now
            log.error("a download was cut off", extra={"path": request.path, "reason": str(error)})
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the object cannot be read") from error
    await response.write_eof()
