"""What is in the chunks of ``aws-chunked``: signed or not, with trailers behind them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

from sfss.web.api.s3_errors import S3Error

#: The line before a chunk, and all trailers, are no longer. Bytes.
_MOST_LINE, _MOST_TRAILERS = 1024, 16 * 1024
#: A chunk that is signed is kept until its signature is checked.
_MOST_SIGNED_CHUNK = 4 * 1024 * 1024


class Chunks:
    """What is in the chunks of ``aws-chunked``. *signer* checks each, if they are signed."""

    def __init__(self, raw: AsyncIterator[bytes | memoryview], signer: Any):
        self._raw = raw
        self._signer = signer
        self._buffer = bytearray()
        self.trailers: dict[str, str] = {}  #: by name in lower case, when all has come

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            size, signature = _chunk_head(await self._line())
            if self._signer is not None and size > _MOST_SIGNED_CHUNK:
                raise S3Error("InvalidRequest", f"A signed chunk has at most {_MOST_SIGNED_CHUNK} bytes.")
            sha256 = hashlib.sha256()
            left = size
            signed: list[bytes] = []  # it is believed when its signature holds
            while left:
                if not self._buffer:
                    await self._more()
                data = bytes(self._buffer[:left])
                del self._buffer[: len(data)]
                left -= len(data)
                if self._signer is not None:
                    sha256.update(data)
                    signed.append(data)
                else:
                    yield data
            if self._signer is not None:
                self._signer.check(signature, sha256.hexdigest())
                for data in signed:
                    yield data
            if not size:
                break
            if await self._line() != b"":
                raise S3Error("IncompleteBody", "A chunk is longer than it says.")
        await self._read_trailers()

    async def _read_trailers(self) -> None:
        total, signature = b"", ""
        while self._buffer or await self._has_more():
            line = await self._line()
            if not line:
                break
            name, _, value = line.partition(b":")
            key, text = name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")
            if key == "x-amz-trailer-signature":
                signature = text
                continue
            total += name.strip().lower() + b":" + value.strip() + b"\n"
            if len(total) > _MOST_TRAILERS:
                raise S3Error("MalformedTrailerError", "The trailers are too long.")
            self.trailers[key] = text
        if self._signer is not None and self.trailers:
            self._signer.check_trailer(signature, total)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MOST_LINE:
                raise S3Error("InvalidRequest", "The body is not framed as aws-chunked.")
            await self._more()
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    async def _more(self) -> None:
        if not await self._has_more():
            raise S3Error("IncompleteBody", "The body ends in the middle of a chunk.")

    async def _has_more(self) -> bool:
        data = await anext(self._raw, b"")
        self._buffer += data
        return bool(data)


def _chunk_head(line: bytes) -> tuple[int, str]:
    size, _, extension = line.partition(b";")
    text = size.strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{1,10}", text):
        raise S3Error("InvalidRequest", "The body is not framed as aws-chunked.")
    _, _, signature = extension.strip().partition(b"chunk-signature=")
    return int(text, 16), signature.strip().decode("latin-1")
