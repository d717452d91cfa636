"""The client for code that has no event loop: over urllib3, for threads and for processes that fork."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3 import exceptions as failures

from sfss.client.base import BaseClient, like
from sfss.client.exchanges import AT_ONCE, Answer, NoAnswer, Request, Steps, check_size
from sfss.client.operations import Operations
from sfss.client.streams import Stream
from sfss.client.values import OF_THE_SERVER, Page, ServerUnreachable
from sfss.errors import NotFound, SfssError

P = ParamSpec("P")
T = TypeVar("T")

#: How many files of :meth:`SyncClient.delete_many` are under way at once.
_THREADS = 16


def _carried_out(
    steps: Callable[Concatenate[Operations, P], Steps[T]],
) -> "Callable[Concatenate[SyncClient, P], T]":
    """The operation as a method that carries it out."""

    @like(steps)
    def operation(self: "SyncClient", /, *args: P.args, **keywords: P.kwargs) -> T:
        return self._run(steps(self._operations, *args, **keywords))

    return operation


class SyncClient(BaseClient):
    __doc__ = f"""{BaseClient.__doc__}
    *timeout* is for a connection, and for each piece of an answer. One client may be used by many threads at once, and
    on both sides of a fork. It connects when it is first asked something; :meth:`close`, or the end of ``with``,
    closes its connections.
    """

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._owner = 0
        self._folder = urlsplit(self._url).path

    def __enter__(self) -> Self:
        """:raises InvalidRequest: if the *ca_file* cannot be used."""
        self._connected()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. (Who asks something afterwards gets new ones.)"""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    put = _carried_out(Operations.put)
    get = _carried_out(Operations.get)
    head = _carried_out(Operations.head)
    stat = _carried_out(Operations.stat)
    delete = _carried_out(Operations.delete)
    list_page = _carried_out(Operations.list_page)
    get_many = _carried_out(Operations.get_many)
    put_many = _carried_out(Operations.put_many)
    kind = _carried_out(Operations.kind)
    status = _carried_out(Operations.status)

    def list_pages(self, prefix: str = "", *, delimiter: str = "") -> Iterator[Page]:
        """All pages of a listing, each asked for when it is wanted."""
        page = self.list_page(prefix, delimiter=delimiter)
        yield page
        while page.next is not None:
            page = self.list_page(prefix, delimiter=delimiter, after=page.next)
            yield page

    def delete_many(self, paths: Iterable[str]) -> dict[str, SfssError]:
        """Delete them, some at once; what failed, by its path. What is not there has not failed.

        :raises SfssError: what is wrong with the server or its store; a part of them may be deleted.
        """
        failures: dict[str, SfssError] = {}
        left = iter(paths)
        lock = threading.Lock()
        is_over = threading.Event()

        def work() -> None:
            while not is_over.is_set():
                with lock:
                    path = next(left, None)
                if path is None:
                    return
                try:
                    self.delete(path)
                except NotFound:
                    continue
                except OF_THE_SERVER:
                    is_over.set()
                    raise
                except SfssError as error:
                    failures[path] = error

        with ThreadPoolExecutor(min(_THREADS, self._connections)) as threads:
            workers = [threads.submit(work) for _ in range(_THREADS)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                is_over.set()
        return failures

    @contextmanager
    def stream(self, path: str) -> Iterator["SyncStream"]:
        """The file, in pieces, for contents that shall not be in memory whole::

            with client.stream("film.mp4") as film:
                for piece in film:
                    ...

        Begun, it is not tried again.

        :raises NotFound: when it is entered.
        """
        with self._opened(self._operations.opened(path), path) as stream:
            yield stream

    @contextmanager
    def archive(self, prefix: str = "") -> Iterator["SyncStream"]:
        """A tar archive of all files whose paths begin with *prefix*, in pieces.

        :raises CannotList, Forbidden: when it is entered, if the store, or the server, does not say which these are.
        """
        with self._opened(self._operations.archive_opened(prefix)) as stream:
            yield stream

    @contextmanager
    def _opened(self, steps: Steps[Answer], path: str | None = None) -> Iterator["SyncStream"]:
        answer = self._run(steps)
        try:
            yield SyncStream(self._url, answer, path)
        finally:
            _let_go(answer.stream)

    def _run(self, steps: Steps[T]) -> T:
        try:
            request = next(steps)
            while True:
                if request.pause:
                    time.sleep(request.pause)
                try:
                    answer = self._ask(request)
                except NoAnswer as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, request: Request) -> Answer:
        """:raises NoAnswer:"""
        content, headers = request.content, self._headers | dict(request.headers)
        body: Any = None
        if content is not None:
            body = content.whole
            if body is None:
                body = iter(content)
                if content.size is not None:
                    headers["Content-Length"] = str(content.size)
        try:
            response = self._connected().urlopen(
                request.method,
                self._folder + request.target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,  # nobody is sent to another server
                chunked=content is not None and content.size is None,
                preload_content=False,
                decode_content=False,
            )
            if request.is_streamed and response.status == 200:
                return Answer(response.status, response.headers, stream=response)
            return Answer(response.status, response.headers, _whole(response))
        except (failures.HTTPError, OSError) as error:
            if content is not None and content.error is not None:
                raise content.error from None  # it would fail again
            raise NoAnswer(_reason_of(error, urlsplit(self._url).hostname)) from error

    def _connected(self) -> urllib3.HTTPConnectionPool:
        """The connections of this process. :raises InvalidRequest: if the CA file cannot be used."""
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                self._pool = _pool_of(self._url, self._connections, self._timeout, self._trusted())
                self._owner = os.getpid()
            return self._pool


class SyncStream(Stream):
    """What :meth:`SyncClient.stream` and :meth:`SyncClient.archive` give: pieces, once."""

    def __iter__(self) -> Iterator[bytes]:
        """:raises ServerUnreachable: if it ends early. :raises UnexpectedAnswer: if it is not what its ETag says."""
        try:
            for piece in self._answer.stream.stream(AT_ONCE, decode_content=False):
                yield self._counted(piece)
        except (failures.HTTPError, OSError) as error:
            raise ServerUnreachable(f"{self._url}: {_reason_of(error, None)}") from error
        self._check_end()


def _pool_of(
    url: str, connections: int, timeout: float, trusted: ssl.SSLContext | None
) -> urllib3.HTTPConnectionPool:
    by_certificates = {"ssl_context": trusted} if url.startswith("https:") and trusted is not None else {}
    return urllib3.connectionpool.connection_from_url(
        url,
        maxsize=connections,
        block=True,
        timeout=urllib3.Timeout(connect=timeout, read=timeout),
        **by_certificates,
    )


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    """Its body. :raises NoAnswer: if it has no end."""
    body = bytearray()
    try:
        for piece in response.stream(AT_ONCE, decode_content=False):
            body += piece
            check_size(len(body))
    finally:
        _let_go(response)
    return bytes(body)


def _let_go(response: Any) -> None:
    """Give its connection back if it was read to the end; otherwise close it: nobody knows what comes next on it."""
    if not response.closed:
        response.close()
    response.release_conn()


def _reason_of(error: Exception, host: str | None) -> str:
    """A few words for what urllib3, or the system, has raised about *host*: those of :mod:`sfss.network_errors`."""
    if isinstance(error, failures.NameResolutionError):
        return f"there is no host {host!r}"
    is_new = isinstance(error, failures.NewConnectionError)  # (which urllib3 has among the time-outs)
    if isinstance(error, TimeoutError | failures.TimeoutError) and not is_new:
        return "no answer in time"
    causes = [error.__cause__, *error.args]
    cause = next((one for one in causes if isinstance(one, OSError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ConnectionResetError) and cause.errno is None:  # http.client's RemoteDisconnected
        return "it closed the connection without an answer"
    if cause is None:
        return str(error) or type(error).__name__
    text = cause.strerror or str(cause) or type(cause).__name__
    if isinstance(cause, ssl.SSLError):
        return f"no TLS with it: {text}"
    return f"cannot connect: {text}" if is_new else text
