"""The client for code that has no event loop: over urllib3, for threads and for processes that fork."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from math import ceil
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3 import exceptions as failures

from sfss.client.base import BaseClient, like
from sfss.client.contents import SourceFailed
from sfss.client.exchanges import AT_ONCE, Answer, NoAnswer, Request, Steps, check_size
from sfss.client.operations import Operations, several
from sfss.client.streams import Stream
from sfss.client.values import OF_THE_SERVER, Page, ServerUnreachable
from sfss.errors import NotFound, SfssError

P = ParamSpec("P")
T = TypeVar("T")

#: How many files of :meth:`SyncClient.delete_many` are under way at once.
_THREADS = 16


class _Stopped(Exception):
    """Another thread has found that there is no use."""


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
    *timeout* is for a connection (a free one, too), and for each piece of an answer. One client may be used by many
    threads at once, and on both sides of a fork. It connects when it is first asked something; :meth:`close`, or the
    end of ``with``, closes its connections.
    """

    def _prepare(self) -> None:
        #: By process: what a fork has copied belongs to the parent. (No lock: who forks while it is held keeps it so.)
        self._pools: dict[int, urllib3.HTTPConnectionPool] = {}
        self._folder = urlsplit(self._url).path

    def __enter__(self) -> Self:
        """:raises InvalidRequest: if the *ca_file* cannot be used."""
        self._connected()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. (Who asks something afterwards gets new ones.)"""
        pool = self._pools.pop(os.getpid(), None)
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
        failed: dict[str, SfssError] = {}
        left = iter(several(paths))
        lock = threading.Lock()
        is_over = threading.Event()
        reasons: list[Exception] = []

        def stop(reason: Exception) -> None:
            reasons.append(reason)
            is_over.set()

        def work() -> None:
            path = ""
            while not is_over.is_set():
                try:
                    with lock:
                        path = next(left)
                    self._run(self._operations.delete(path), is_over)
                except StopIteration:
                    return
                except (NotFound, _Stopped):
                    continue
                except OF_THE_SERVER as error:
                    stop(error)
                except SfssError as error:
                    failed[path] = error
                except Exception as error:
                    stop(error)

        with ThreadPoolExecutor(min(_THREADS, self._connections)) as threads:
            workers = [threads.submit(work) for _ in range(_THREADS)]
            try:
                wait(workers)
            finally:
                is_over.set()
        if reasons:
            raise reasons[0]
        return failed

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

    def _run(self, steps: Steps[T], is_over: threading.Event | None = None) -> T:
        """*is_over*: set by another thread when no more tries are to be made. :raises _Stopped: then."""
        pause = is_over.wait if is_over is not None else time.sleep
        try:
            request = next(steps)
            while True:
                if request.pause and pause(request.pause):
                    raise _Stopped
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
        content = request.content
        body: Any = None if content is None else content.whole
        if body is None and content is not None:
            body = iter(content)
        try:
            response = self._connected().urlopen(
                request.method,
                self._folder + request.target,
                body=body,
                headers=self._headers | request.head(),
                retries=False,
                redirect=False,  # nobody is sent to another server
                chunked=content is not None and content.size is None,
                pool_timeout=ceil(self._timeout),
                preload_content=False,
                decode_content=False,
            )
            if content is not None and content.error is not None:
                _let_go(response)  # it is of a part of the content
                raise SourceFailed
            if request.is_streamed and response.status == 200:
                return Answer(response.status, response.headers, stream=response)
            return Answer(response.status, response.headers, _whole(response))
        except SourceFailed:
            assert content is not None and content.error is not None
            raise content.error from None
        except (failures.HTTPError, OSError) as error:
            raise NoAnswer(_reason_of(error, urlsplit(self._url).hostname)) from error

    def _connected(self) -> urllib3.HTTPConnectionPool:
        """The connections of this process. :raises InvalidRequest: if the CA file cannot be used."""
        pool = self._pools.get(os.getpid())
        if pool is None:
            made = _pool_of(self._url, self._connections, self._timeout, self._trusted())
            pool = self._pools.setdefault(os.getpid(), made)  # of several threads one wins
        return pool


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
    """Its body. :raises UnexpectedAnswer: if it has no end."""
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
    if isinstance(error, failures.EmptyPoolError):
        return "all its connections are in use"
    causes = [error, error.__cause__, *error.args]
    if any(isinstance(one, TimeoutError | failures.TimeoutError) for one in causes) and not is_new:
        return "no answer in time"
    if any(isinstance(one, IncompleteRead) for one in causes):
        return "it closed the connection in the middle of an answer"
    if any(isinstance(one, HTTPException) and not isinstance(one, OSError) for one in causes):
        return "its answer is not HTTP"
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
