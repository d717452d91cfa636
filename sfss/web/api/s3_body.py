"""Bodies of S3, checked by what the client says of them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable

from sfss.errors import LengthRequired
from sfss.http.messages import Headers
from sfss.web.api.s3_checksums import CHECKSUMS, Digest, check_known, encoded, others_than_checksums
from sfss.web.api.s3_chunks import Chunks
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_request import S3Request
from sfss.web.api.s3_signature import SIGNED_CHUNKS, UNSIGNED, UNSIGNED_CHUNKS, Signed

_MOST_DOCUMENT = 2 * 1024 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


#: What a request may say of its body.
_SAID = CHECKSUMS | {"content-md5": lambda: hashlib.md5(usedforsecurity=False)}


class Body:
    """What comes of a body, decoded, and checked at its end. *raw*: as it comes; *length*: of it, if known.

    *metadata*: gets the checksums. *also*: one that is made though nobody says what it is.
    """

    def __init__(
        self,
        headers: Headers,
        signed: Signed | None,
        raw: AsyncIterator[bytes | memoryview],
        length: int | None,
        metadata: dict[str, str] | None = None,
        also: str = "",
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
        check_known(headers)
        self._trailer = headers.get("x-amz-trailer").strip().lower()
        if self._trailer:
            if self._trailer not in CHECKSUMS or not is_chunked:
                raise S3Error(
                    "InvalidRequest", f"x-amz-trailer is {self._trailer[:80]!r}: nobody knows that."
                )
            self._digests[self._trailer] = CHECKSUMS[self._trailer]()
        elif "x-amz-sdk-checksum-algorithm" in headers and not CHECKSUMS.keys() & self._expected.keys():
            raise S3Error("InvalidRequest", "x-amz-sdk-checksum-algorithm is there, but no checksum.")
        self._also = also
        if also and also not in self._digests:
            self._digests[also] = CHECKSUMS[also]()

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

    async def __anext__(self) -> bytes | memoryview:
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
            found = encoded(self._digests[name])
            if found != value:
                code = "XAmzContentSHA256Mismatch" if name == "payload" else "BadDigest"
                raise S3Error(code, f"The body is not the one that {name} says.")
            if name in CHECKSUMS:
                self.checksums[name] = value
        if self._also:
            self.checksums[self._also] = encoded(self._digests[self._also])
        if self._metadata is not None:
            self._metadata |= self.checksums


def _decoded_length(headers: Headers) -> int:
    text = headers.get("x-amz-decoded-content-length").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.", 411)
    return int(text)


def body_of(asked: S3Request, metadata: dict[str, str] | None = None, also: str = "") -> Body:
    """Its checksums are in *metadata* when all has come; *also*: see :class:`Body`.

    :raises LengthRequired: if nobody says how long it is.
    """
    length = asked.body.length
    if length is None and "transfer-encoding" not in asked.headers:
        raise LengthRequired("A PUT needs a Content-Length.")
    return Body(asked.headers, asked.signed, asked.body, length, metadata, also)


async def document_of(asked: S3Request, *, has_others: bool = False) -> bytes:
    """The body of a request that is a document, checked as every body. *has_others*: the checksums of the request are
    not those of its body. :raises S3Error:
    """
    found = b""
    headers = others_than_checksums(asked.headers) if has_others else asked.headers
    async for data in Body(headers, asked.signed, asked.body, asked.body.length):
        found += data
        if len(found) > _MOST_DOCUMENT:
            raise S3Error("MalformedXML", "The document is too long.")
    return found


def copied(
    pieces: AsyncIterable[bytes | memoryview], checksum: str, metadata: dict[str, str] | None = None
) -> Body:
    """What is copied, with its *checksum* made: the name of the header, "" for none. *metadata* gets it."""
    return Body(Headers({}), None, aiter(pieces), None, metadata, checksum)
