"""An HTTP client for sfss, for asyncio::

    async with Client("http://127.0.0.1:8255") as client:
        await client.put("avatars/ann.png", content)
        content = await client.get("avatars/ann.png")

It speaks to gateways and to nodes: a node that is spoken to as a gateway changes nothing and says what it
is (``X-SFSS-Server``). Files are small, so it streams nothing. What may go well the next time (a connection that
fails, 502, 503, 504, 408) is tried again, with growing, jittered pauses: every operation
of the service is idempotent. One client may be used by many tasks at once.
"""

import asyncio
import io
import json
import random
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
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
from sfss.models import SERVER_HEADER, FileInfo, etag_of
from sfss.network_errors import reason_of
from sfss.paths import PLAIN_IN_A_URL, check_path
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
_EXPECTED: dict[str, dict[str, tuple[int, ...]]] = {
    "gateway": {"GET": (200,), "HEAD": (200,), "PUT": (200,), "DELETE": (204,)},
    # 302: a file of this name and content is there already.
    "node": {"GET": (200,), "HEAD": (200,), "PUT": (201, 204, 302), "DELETE": (200, 204)},
}
SERVERS = tuple(_EXPECTED)
_WORTH_A_RETRY = frozenset({408, 502, 503, 504})
_FIRST_PAUSE = 0.1  # seconds; doubled each time


class ServerUnreachable(SfssError):
    """No answer from the server: no connection, or none in time."""


class UnexpectedAnswer(SfssError):
    """The answer is not one that sfss gives: another server, or something on the way, gave it."""


class Stored(NamedTuple):
    """What a put has made."""

    size: int  #: bytes
    etag: str
    path: str  #: nodes with generated names give a file another one than it was sent by


class Client:
    """A client of the server at *url*.

    *token*: what the server wants to have as ``Authorization: Bearer``, if anything. *timeout*:
    seconds for one try. *retries*: how often an operation is tried again.
    *connections*: how many are open at once, at most. *server*: ``gateway`` or ``node``; without, that is
    found out. *ca_file*: the certificates (PEM) by which the server's is trusted, in place of the system's.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        connections: int = 100,
        server: str | None = None,
        ca_file: str | None = None,
    ):
        if server not in (None, *SERVERS):
            raise InvalidRequest(f"server is {server!r}; it must be {' or '.join(SERVERS)}.")
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
        self._server = server
        self._finds_out = server is None
        self._ca_file = ca_file

    async def __aenter__(self) -> "Client":
        """:raises InvalidRequest: if the *ca_file* cannot be used."""
        trusted: ssl.SSLContext | bool = True
        if self._ca_file is not None:
            try:
                trusted = ssl.create_default_context(cafile=self._ca_file)
            except OSError as error:
                reason = error.strerror or error
                raise InvalidRequest(f"The CA file {self._ca_file} cannot be used: {reason}.") from error
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=trusted),
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
    ) -> Stored:
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
        body, answer = await self._request("PUT", path, content, headers)
        etag = etag_of(content)
        # The server says what it keeps; if that is not what was sent, it must not pass for it.
        if answer.get("ETag") != f'"{etag}"':
            raise UnexpectedAnswer(f"ETag mismatch after the upload of {path!r}.")
        name = _document(body).get("path") if body else path
        return Stored(len(content), etag, name if isinstance(name, str) else path)

    async def get(self, path: str) -> bytes:
        """:raises NotFound:"""
        body, headers = await self._request("GET", path)
        if headers.get("ETag") != f'"{etag_of(body)}"':
            raise UnexpectedAnswer(f"What came for {path!r} is not what its ETag says.")
        return body

    async def stat(self, path: str) -> FileInfo:
        """:raises NotFound:"""
        _, headers = await self._request("HEAD", path)
        try:
            return FileInfo(int(headers["Content-Length"]), headers["ETag"].strip('"'))
        except (KeyError, ValueError):
            raise UnexpectedAnswer(f"The answer for {path!r} is not one of sfss.") from None

    async def delete(self, path: str) -> None:
        """:raises NotFound: if there was no file (not when a retry finds it gone)."""
        await self._request("DELETE", path)

    async def status(self, *, full: bool = False) -> dict[str, Any]:
        """The figures of ``GET /status``, or of a node's ``GET /_status``."""
        if self._server is None:  # (a node may have a file named "status")
            _, headers = await self._exchange("GET", lambda: f"{self._url}/healthz")
            self._server = "node" if headers.get(SERVER_HEADER) == "node" else "gateway"
        resource = "_status" if self._server == "node" else f"status?full={int(full)}"
        body, _ = await self._exchange("GET", lambda: f"{self._url}/{resource}")
        return _document(body)

    def url_of(self, path: str) -> str:
        """The URL of the file, as far as it is known what kind the server is. :raises InvalidPath:"""
        # Encoded here, all of it: nothing on the way shall decode or normalize it.
        check_path(path)
        if self._server == "node":
            return f"{self._url}/{quote(path, safe=PLAIN_IN_A_URL)}"
        return f"{self._url}/file?path={quote(path, safe='/')}"

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
        self, method: str, path: str, content: bytes | None = None, headers: dict[str, Any] | None = None
    ) -> tuple[bytes, Any]:
        return await self._exchange(method, lambda: self.url_of(path), content, headers)

    async def _exchange(
        self,
        method: str,
        url: Callable[[], str],
        content: bytes | None = None,
        headers: dict[str, Any] | None = None,
    ) -> tuple[bytes, Any]:
        tries = 0
        while True:
            last = tries == self._retries
            kind = self._server or "gateway"  # others may find out meanwhile
            try:
                # In a BytesIO, large content does not go out in one piece that blocks the loop.
                data = None if content is None else io.BytesIO(content)
                async with self._session.request(
                    method,
                    URL(url(), encoded=True),
                    data=data,
                    headers=headers,
                    allow_redirects=False,  # nobody is sent to another server
                ) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if last:
                    raise ServerUnreachable(f"{self._url}: {reason_of(error)}") from error
            else:
                if response.status in _EXPECTED[kind][method]:
                    return body, response.headers
                if method == "DELETE" and response.status == 404 and tries:
                    return body, response.headers
                if self._finds_out and kind != "node" and response.headers.get(SERVER_HEADER) == "node":
                    self._server = "node"  # it has refused what only a gateway knows
                    continue
                if last or response.status not in _WORTH_A_RETRY:
                    raise _error(response.status, body, method)
            await asyncio.sleep(_FIRST_PAUSE * 2**tries * random.uniform(0.5, 1.5))
            tries += 1


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
