"""The body of an upload, raw or as a form, into bytes, within its limits.

Nothing is read of a body whose announced length is over the limit, and nothing behind the
byte that exceeds it.
"""

import asyncio

from aiohttp import web

from sfss.errors import (
    FileTooLarge,
    InvalidRequest,
    UnknownExpectation,
    UnsupportedEncoding,
    UploadTimeout,
)
from sfss.web.forms import FORM_OVERHEAD, FormReader, parameters_of


async def read_upload(
    request: web.BaseRequest, *, limit: int, timeout: float, forms: bool = True
) -> bytes:
    """The content of the file that *request* brings: at most *limit* bytes, in *timeout* seconds.

    *forms*: whether a form is taken apart; without, it is a file like others.

    :raises FileTooLarge: as soon as that is known.
    :raises InvalidRequest: if the form or the framing of the body is broken.
    :raises UnknownExpectation: if it expects anything but to be told to go on.
    :raises UnsupportedEncoding: if the body is compressed; a file is kept as it is sent.
    :raises UploadTimeout: if it takes too long.
    """
    headers = request.headers
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding(
            "The body has a Content-Encoding; send the file as it is to be kept."
        )
    if "Content-Range" in headers:  # RFC 9110 14.5: a part must not replace the whole
        raise InvalidRequest("Content-Range is not supported; send the whole file.")

    # RFC 9112 6.1: aiohttp takes the chunks apart, and leaves any other coding in the body.
    if headers.get("Transfer-Encoding", "chunked").strip().lower() != "chunked":
        raise InvalidRequest("The only Transfer-Encoding known is chunked.")

    media_type, options = parameters_of(headers.get("Content-Type", ""))
    is_form = forms and media_type == "multipart/form-data"
    announced = request.content_length
    if announced is not None and announced > (limit + FORM_OVERHEAD if is_form else limit):
        raise FileTooLarge.over(limit)
    try:
        async with asyncio.timeout(timeout):
            await _invite(request)
            if is_form:
                return await _read_form(request, options.get("boundary", ""), limit)
            return await _read_raw(request, limit)
    except TimeoutError:
        raise UploadTimeout(f"The body did not arrive within {timeout:g} s.") from None
    except web.RequestPayloadError as error:
        raise InvalidRequest(f"The body is not framed as the headers say: {error}.") from None
    except (ConnectionError, RuntimeError) as error:
        # aiohttp's StreamReader raises a RuntimeError when it is asked after the connection is gone.
        if isinstance(error, RuntimeError) and request.transport is not None:
            raise
        raise InvalidRequest("The connection was closed before the body was whole.") from None


def expected_size(request: web.BaseRequest, limit: int) -> int:
    """How many bytes the body will have, as far as that is known; at most *limit*."""
    announced = request.content_length
    return limit if announced is None else min(announced, limit)


async def leave_expectation(request: web.Request) -> None:
    """aiohttp calls this before the handler, when there is an ``Expect``, instead of asking for the
    body itself: :func:`read_upload` does that, once it is known that the body is wanted.
    """


async def _invite(request: web.BaseRequest) -> None:
    """Answer ``Expect: 100-continue`` (RFC 9110 10.1.1), now that nothing speaks against the body."""
    expectation = request.headers.get("Expect", "100-continue").lower()
    if expectation != "100-continue":
        raise UnknownExpectation("The only Expect known is 100-continue.")
    if "Expect" in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The interim answer does not count as the beginning of the final one.
        request.writer.output_size = 0


async def _read_raw(request: web.BaseRequest, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise FileTooLarge.over(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_form(request: web.BaseRequest, boundary: str, limit: int) -> bytes:
    reader = FormReader(boundary, limit)
    async for chunk in request.content.iter_any():
        reader.feed(chunk)
    return reader.end()
