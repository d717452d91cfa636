"""The operations of a server, for asyncio."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from sfss.client.archives import packed, report_in, unpacked
from sfss.client.retries import WORTH_A_RETRY, Retries
from sfss.client.tasks import each
from sfss.client.values import (
    Page,
    ServerUnreachable,
    Stored,
    UnexpectedAnswer,
    document_in,
    error_of,
    page_in,
)
from sfss.errors import InvalidRequest, NotFound, SfssError
from sfss.models import DEFAULT_URL, SERVER_HEADER, SERVERS, FileInfo, etag_of
from sfss.network_errors import reason_of
from sfss.paths import PLAIN_IN_A_URL, check_path
from sfss.signing import signed_query

_EXPECTED: dict[str, dict[str, tuple[int, ...]]] = {
    "gateway": {"GET": (200,), "HEAD": (200,), "PUT": (200,), "POST": (200,), "DELETE": (204,)},
    # 302: a file of this name and content is there already.
    "node": {"GET": (200,), "HEAD": (200,), "PUT": (201, 204, 302), "POST": (200,), "DELETE": (200, 204)},
}
#: No answer has more. Bytes.
_MOST_BYTES = 1 << 30
_AT_ONCE = 256 * 1024


class Client:
    """A client of the server at *url*, a gateway or a node (one that is spoken to as a gateway changes nothing and says
    what it is, ``X-SFSS-Server``). Files are small, so it streams nothing. What may go well the next time (a connection
    that fails, 502, 503, 504, 408) is tried again, with growing, jittered pauses: every operation of the service is
    idempotent. One client may be used by many tasks at once.

    *token*: what the server wants to have as ``Authorization: Bearer``, if anything. *timeout*:
    seconds for one try. *retries*: how often an operation is tried again; *retry_for*: in place of that, for how
    many seconds from its first failure, once the server has answered anything.
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
        retry_for: float | None = None,
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
        self._retry_for = retry_for
        self._has_answered = False
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
        name = document_in(body).get("path") if body else path
        return Stored(len(content), etag, name if isinstance(name, str) else path)

    async def get(self, path: str) -> bytes:
        """:raises NotFound:"""
        body, headers = await self._request("GET", path)
        if headers.get("ETag") != f'"{etag_of(body)}"':
            raise UnexpectedAnswer(f"What came for {path!r} is not what its ETag says.")
        return body

    async def head(self, path: str) -> Mapping[str, str]:
        """What the server says of it. :raises NotFound:"""
        try:
            _, headers = await self._request("HEAD", path)
        except NotFound:  # (its answer has no body that could say so)
            raise NotFound.of(path) from None
        found: Mapping[str, str] = headers
        return found

    async def stat(self, path: str) -> FileInfo:
        """:raises NotFound:"""
        headers = await self.head(path)
        try:
            return FileInfo(int(headers["Content-Length"]), headers["ETag"].strip('"'))
        except (KeyError, ValueError):
            raise UnexpectedAnswer(f"The answer for {path!r} is not one of sfss.") from None

    async def delete(self, path: str) -> None:
        """:raises NotFound: if there was no file (not when a retry finds it gone)."""
        await self._request("DELETE", path)

    # Many at once.

    async def list_page(
        self, prefix: str = "", *, delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """Which files there are whose paths begin with *prefix*. *after*: what the page before had as ``next``.

        :raises CannotList: if the store does not say that. :raises Forbidden: if the server does not.
        """
        query = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": str(limit)}
        resource = await self._resource("files")
        url = f"{self._url}/{resource}?{urlencode({name: value for name, value in query.items() if value})}"
        body, _ = await self._exchange("GET", lambda: url)
        page = page_in(document_in(body))
        if page.next is not None and page.next == after:
            raise UnexpectedAnswer("The listing of the server does not go on.")
        return page

    async def list_pages(self, prefix: str = "", *, delimiter: str = "") -> AsyncGenerator[Page, None]:
        """All pages of a listing; each is asked for while the one before is looked at."""
        page = await self.list_page(prefix, delimiter=delimiter)
        while page.next is not None:
            coming = asyncio.create_task(self.list_page(prefix, delimiter=delimiter, after=page.next))
            try:
                yield page
                page = await coming
            finally:
                coming.cancel()
        yield page

    async def get_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of those that are there, by their paths. They are in memory together, and are few enough for
        that. It is tried once: one that the store cannot read ends all of them, and then :meth:`get` tells which.
        """
        url = f"{self._url}/{await self._resource('archive')}"
        wanted = set(paths)
        body, _ = await self._exchange(
            "POST",
            lambda: url,
            json.dumps(sorted(wanted)).encode(),
            {"Content-Type": "application/json"},
            retries=Retries(0, None),
        )
        return unpacked(body, wanted)

    async def put_many(self, files: Mapping[str, bytes]) -> dict[str, Stored | SfssError]:
        """Keep *files*, contents by paths; what has become of each, by its path. (How many: see :meth:`get_many`.)

        :raises SfssError: what is wrong with the server or its store; a part of them may be kept.
        """
        url = f"{self._url}/{await self._resource('archive')}"
        outcomes: dict[str, Stored | SfssError] = {}
        waiting = dict(files)
        retries = self._new_retries()
        while waiting:
            body, headers = await self._exchange(
                "POST",
                lambda: url,
                packed(waiting),
                {"Content-Type": "application/x-tar"},
                is_answer=_is_report,
            )
            said, last = report_in(body)
            for path in list(waiting.keys() & said.keys()):
                line = said[path]
                if line.get("etag") == etag_of(waiting[path]):
                    content = waiting.pop(path)
                    outcomes[path] = Stored(len(content), line["etag"], line.get("name", path))
                elif line.get("status") not in WORTH_A_RETRY:
                    del waiting[path]
                    detail = line.get("error") or f"ETag mismatch after the upload of {path!r}."
                    outcomes[path] = error_of(line.get("status", 0), detail)
            status = last.get("status", 0)  # of what has ended it before it was all taken
            if waiting and not status:
                raise UnexpectedAnswer("The server has not taken all of an archive, and does not say why.")
            if status and not (status in WORTH_A_RETRY and (not waiting or await retries.wait(headers))):
                details = [line["error"] for line in said.values() if line.get("status") == status]
                raise error_of(status, (details or [last.get("error", "")])[0])
        return outcomes

    async def delete_many(self, paths: Iterable[str]) -> dict[str, SfssError]:
        """Delete them; what failed, by its path. What is not there has not failed.

        :raises SfssError: what is wrong with the server or its store; a part of them may be deleted.
        """
        failures: dict[str, SfssError] = {}
        await each(paths, self.delete, failures.__setitem__)
        return failures

    # The server itself.

    async def kind(self) -> str:
        """``gateway`` or ``node``."""
        if self._server is None:  # (a node may have a file of any name that a gateway has for something else)
            _, headers = await self._exchange("GET", lambda: f"{self._url}/healthz")
            self._server = "node" if headers.get(SERVER_HEADER) == "node" else "gateway"
        return self._server

    async def _resource(self, name: str) -> str:
        """What the server calls it: nodes have files at all other URLs."""
        return f"_{name}" if await self.kind() == "node" else name

    async def status(self, *, full: bool = False) -> dict[str, Any]:
        """The figures of ``GET /status``, or of a node's ``GET /_status``."""
        is_node = await self.kind() == "node"
        resource = "_status" if is_node else f"status?full={int(full)}"
        body, _ = await self._exchange("GET", lambda: f"{self._url}/{resource}")
        return document_in(body)

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

    def _new_retries(self) -> Retries:
        """(A server that has never answered may be none.)"""
        return Retries(self._retries, self._retry_for if self._has_answered else None)

    async def _exchange(
        self,
        method: str,
        url: Callable[[], str],
        content: bytes | None = None,
        headers: dict[str, Any] | None = None,
        is_answer: Callable[[int, Mapping[str, str]], bool] = lambda status, headers: False,
        retries: Retries | None = None,
    ) -> tuple[bytes, Any]:
        """The body and the headers of the answer. *is_answer*: which others are answers, beside those of success."""
        retries = retries or self._new_retries()
        while True:
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
                    body = await _whole(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if not await retries.wait():
                    raise ServerUnreachable(f"{self._url}: {reason_of(error)}") from error
                continue
            self._has_answered = True
            status = response.status
            if status in _EXPECTED[kind][method] or is_answer(status, response.headers):
                return body, response.headers
            if method == "DELETE" and status == 404 and retries.tries:
                return body, response.headers
            if self._finds_out and kind != "node" and response.headers.get(SERVER_HEADER) == "node":
                self._server = "node"  # it has refused what only a gateway knows
                continue
            if status not in WORTH_A_RETRY or not await retries.wait(response.headers):
                raise error_of(status, _detail(body) or f"{method} was answered with status {status}.")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Its body. :raises UnexpectedAnswer: if it has no end."""
    body = bytearray()
    async for data in response.content.iter_chunked(_AT_ONCE):
        body += data
        if len(body) > _MOST_BYTES:
            raise UnexpectedAnswer(f"The answer has over {_MOST_BYTES} bytes.")
    return bytes(body)


def _is_report(status: int, headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Type", "").startswith("application/x-ndjson")


def _detail(body: bytes) -> str:
    """What a problem document says."""
    try:
        return str(document_in(body)["detail"])
    except (UnexpectedAnswer, KeyError):
        return ""
