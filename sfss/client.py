"""An HTTP client for sfss, for asyncio::

    async with Client("http://127.0.0.1:8255") as client:
        await client.put("avatars/ann.png", content)
        content = await client.get("avatars/ann.png")

Files are small, so it streams nothing. What may go well the next time (a connection that
fails, 502, 503, 504, 408) is tried again, with growing, jittered pauses: every operation
of the service is idempotent. One client may be used by many tasks at once.
"""

import asyncio
import io
import json
import random
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from sfss.errors import (
    FileTooLarge,
    Forbidden,
    InvalidRequest,
    NoStoreAvailable,
    NotFound,
    Overloaded,
    PreconditionFailed,
    SfssError,
    StoreFull,
    StoreRefused,
    Unauthorized,
)
from sfss.models import FileInfo, etag_of
from sfss.paths import check_path
from sfss.signing import signed_query

DEFAULT_URL = "http://127.0.0.1:8255"

_ERRORS: dict[int, type[SfssError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    412: PreconditionFailed,
    413: FileTooLarge,
    502: StoreRefused,
    503: Overloaded,
    504: NoStoreAvailable,
    507: StoreFull,
}
_EXPECTED = {"GET": 200, "HEAD": 200, "PUT": 200, "DELETE": 204}
_WORTH_A_RETRY = frozenset({408, 502, 503, 504})
_FIRST_PAUSE = 0.1  # seconds; doubled each time


class ServerUnreachable(SfssError):
    """No answer from the server: no connection, or none in time."""


class UnexpectedAnswer(SfssError):
    """The answer is not one that sfss gives: another server, or something on the way, gave it."""


class Client:
    """A client of the server at *url*.

    *token*: what the server wants to have as ``Authorization: Bearer``, if anything. *timeout*:
    seconds for one try. *retries*: how often an operation is tried again.
    *connections*: how many are open at once, at most.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        connections: int = 100,
    ):
        try:
            if URL(url).scheme not in ("http", "https") or not URL(url).host:
                raise ValueError("it must begin with http:// or https:// and a host")
        except ValueError as error:
            raise InvalidRequest(f"{url!r} is not the URL of a server: {error}.") from None
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._retries = retries
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=self._connections),
            headers=self._headers,
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    # All operations raise ServerUnreachable when there is no answer after the last try, and the
    # SfssError of the status (NotFound, NoStoreAvailable, ...) when the server says no.

    async def put(
        self,
        path: str,
        content: bytes,
        *,
        if_match: str | None = None,
        only_if_new: bool = False,
    ) -> FileInfo:
        """Keep *content* under *path*.

        *if_match*: only if the file's ETag is this one. *only_if_new*: only if there is no file.

        :raises PreconditionFailed: if that does not hold. After a retry it may be the first
            try's own success that is in the way.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        if only_if_new:
            headers["If-None-Match"] = "*"
        body, _ = await self._request("PUT", self.url_of(path), content, headers)
        info = _document(body)
        # The server says what it keeps; if that is not what was sent, it must not pass for it.
        if info.get("etag") != etag_of(content):
            raise UnexpectedAnswer(f"The server says that it keeps something else as {path!r}.")
        return FileInfo(len(content), info["etag"])

    async def get(self, path: str) -> bytes:
        """:raises NotFound:"""
        body, headers = await self._request("GET", self.url_of(path))
        if headers.get("ETag") != f'"{etag_of(body)}"':
            raise UnexpectedAnswer(f"What came for {path!r} is not what its ETag says.")
        return body

    async def stat(self, path: str) -> FileInfo:
        """:raises NotFound:"""
        _, headers = await self._request("HEAD", self.url_of(path))
        try:
            return FileInfo(int(headers["Content-Length"]), headers["ETag"].strip('"'))
        except (KeyError, ValueError):
            raise UnexpectedAnswer(f"The answer for {path!r} is not one of sfss.") from None

    async def delete(self, path: str) -> None:
        """:raises NotFound: if there was no file (not when a retry finds it gone)."""
        await self._request("DELETE", self.url_of(path))

    async def status(self, *, full: bool = False) -> dict[str, Any]:
        """The figures of ``GET /status``."""
        body, _ = await self._request("GET", f"{self._url}/status?full={int(full)}")
        return _document(body)

    def url_of(self, path: str) -> str:
        """The URL of the file. :raises InvalidPath:"""
        # Encoded here, all of it: nothing on the way shall decode or normalize it.
        return f"{self._url}/file?path={quote(check_path(path), safe='/')}"

    def signed_url(
        self,
        method: str,
        path: str,
        key: str,
        *,
        lifetime: float = 3600.0,
        limit: int | None = None,
    ) -> str:
        """A URL with which its bearer may GET, or PUT, the file for *lifetime* seconds.

        *key*: the server's signing key. *limit*: bytes, the most that may be put.

        :raises InvalidPath, InvalidRequest: if that cannot be signed.
        """
        query = signed_query(key, method, check_path(path), lifetime=lifetime, limit=limit)
        return f"{self._url}/file?{query}"

    async def _request(
        self, method: str, url: str, content: bytes | None = None, headers: dict | None = None
    ) -> tuple[bytes, Any]:
        for tries in range(self._retries + 1):
            last = tries == self._retries
            try:
                # In a BytesIO, large content does not go out in one piece that blocks the loop.
                data = None if content is None else io.BytesIO(content)
                async with self._session.request(
                    method,
                    URL(url, encoded=True),
                    data=data,
                    headers=headers,
                    allow_redirects=False,  # sfss sends none: whoever does is not it
                ) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if last:
                    reason = "no answer in time" if isinstance(error, TimeoutError) else error
                    raise ServerUnreachable(f"{self._url}: {reason}") from error
            else:
                if response.status == _EXPECTED[method]:
                    return body, response.headers
                if method == "DELETE" and response.status == 404 and tries:
                    return body, response.headers
                if last or response.status not in _WORTH_A_RETRY:
                    raise _error(response.status, body, method)
            await asyncio.sleep(_FIRST_PAUSE * 2**tries * random.uniform(0.5, 1.5))
        raise AssertionError("the last try returns or raises")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer("The answer is not the JSON of sfss; is this its URL?")
    return document


def _error(status: int, body: bytes, method: str) -> SfssError:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"{method} was answered with status {status}."
    return _ERRORS.get(status, UnexpectedAnswer)(detail)
