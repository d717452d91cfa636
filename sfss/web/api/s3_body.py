"""Bodies of S3, checked by what the client says of them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from sfss.errors import LengthRequired
from sfss.http.messages import Headers
from sfss.web.api.s3_chunks import Chunks
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_request import S3Request
from sfss.web.api.s3_signature import SIGNED_CHUNKS, UNSIGNED, UNSIGNED_CHUNKS, Signed

_MOST_DOCUMENT = 2 * 1024 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


class Digest(Protocol):
    def update(self, data: bytes, /) -> Any: ...

    def digest(self) -> bytes: ...


class _Crc:
    """*step* gives the next value from data and the one before. *size* of it in bytes."""

    def __init__(self, step: Callable[[bytes, int], int], size: int):
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size)


def _of_awscrt(name: str, size: int) -> _Crc:
    """:raises S3Error: if the library is not installed (``pip install sfss[objects]``)."""
    try:
        from awscrt import checksums  # type: ignore[import-untyped]
    except ImportError:
        raise S3Error("NotImplemented", f"This server does not know {name}.", 501) from None
    return _Crc(getattr(checksums, name), size)


#: By the name of the header that has it.
CHECKSUMS: dict[str, Callable[[], Digest]] = {
    "x-amz-checksum-crc32": lambda: _Crc(zlib.crc32, 4),
    "x-amz-checksum-crc32c": lambda: _of_awscrt("crc32c", 4),
    "x-amz-checksum-crc64nvme": lambda: _of_awscrt("crc64nvme", 8),
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}
#: What a request may say of its body.
_SAID = CHECKSUMS | {"content-md5": lambda: hashlib.md5(usedforsecurity=False)}


class Body:
    """What comes of a body, decoded, and checked at its end. *raw*: as it comes; *length*: of it, if known.

    *metadata*: gets the checksums.
    """

    def __init__(
        self,
        headers: Headers,
        signed: Signed | None,
        raw: AsyncIterator[bytes],
        length: int | None,
        metadata: dict[str, str] | None = None,
    ):
        payload = signed.payload if signed is not None else UNSIGNED
        is_chunked = payload in SIGNED_CHUNKS or payload == UNSIGNED_CHUNKS
        if payload in SIGNED_CHUNKS and (signed is None or signed.chunks is None):
            raise S3Error("InvalidRequest", "Chunks are signed where the request is signed in a header.")
        self._chunks = Chunks(raw, signed.chunks if signed else None) if is_chunked else None
        self._raw = raw if self._chunks is None else aiter(self._chunks)
        self._expected: dict[str, str] = {}  # by the name of the header
        self._digests: dict[str, Digest] = {}
        self.checksums: dict[str, str] = {}  #: those that were checked, by the name of their header
        self._metadata = metadata
        self.length = _decoded_length(headers) if is_chunked else length
        if not is_chunked and payload != UNSIGNED:
            if not _SHA256.fullmatch(payload):
                raise S3Error(
                    "InvalidArgument", f"x-amz-content-sha256 is {payload[:80]!r}: nobody knows that."
                )
            self._payload = hashlib.sha256()
            self._digests["payload"] = self._payload
            self._expected["payload"] = base64.b64encode(bytes.fromhex(payload)).decode()
        for name, make in _SAID.items():
            if name in headers and (value := headers.get(name).strip()):
                self._expect(name, value, make)
        self._trailer = headers.get("x-amz-trailer").strip().lower()
        if self._trailer:
            if self._trailer not in CHECKSUMS or not is_chunked:
                raise S3Error(
                    "InvalidRequest", f"x-amz-trailer is {self._trailer[:80]!r}: nobody knows that."
                )
            self._digests[self._trailer] = CHECKSUMS[self._trailer]()

    def _expect(self, name: str, value: str, make: Callable[[], Digest]) -> None:
        self._digests[name] = digest = make()
        try:
            is_one = len(base64.b64decode(value, validate=True)) == len(digest.digest())
        except (binascii.Error, ValueError):
            is_one = False
        if not is_one:
            raise S3Error("InvalidDigest", f"{name} is none.")
        self._expected[name] = value

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        """:raises S3Error: behind the last of them, if they are not what the client says they are."""
        try:
            data = await anext(self._raw)
        except StopAsyncIteration:
            self._check()
            raise
        for digest in self._digests.values():
            digest.update(data)
        return data

    def _check(self) -> None:
        if self._trailer:
            trailers = self._chunks.trailers if self._chunks is not None else {}
            if self._trailer not in trailers:
                raise S3Error("MalformedTrailerError", f"The trailer {self._trailer} is missing.")
            self._expected[self._trailer] = trailers[self._trailer]
        for name, value in self._expected.items():
            found = base64.b64encode(self._digests[name].digest()).decode()
            if found != value:
                code = "XAmzContentSHA256Mismatch" if name == "payload" else "BadDigest"
                raise S3Error(code, f"The body is not the one that {name} says.")
            if name in CHECKSUMS:
                self.checksums[name] = value
        if self._metadata is not None:
            self._metadata |= self.checksums


def _decoded_length(headers: Headers) -> int:
    text = headers.get("x-amz-decoded-content-length").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.", 411)
    return int(text)


def body_of(asked: S3Request, metadata: dict[str, str] | None = None) -> Body:
    """Its checksums are in *metadata* when all has come. :raises LengthRequired: if nobody says how long it is."""
    length = asked.body.length
    if length is None and "transfer-encoding" not in asked.headers:
        raise LengthRequired("A PUT needs a Content-Length.")
    return Body(asked.headers, asked.signed, asked.body, length, metadata)


async def document_of(asked: S3Request) -> bytes:
    """The body of a request that is a document, checked as every body. :raises S3Error:"""
    found = b""
    async for data in Body(asked.headers, asked.signed, asked.body, asked.body.length):
        found += data
        if len(found) > _MOST_DOCUMENT:
            raise S3Error("MalformedXML", "The document is too long.")
    return found
