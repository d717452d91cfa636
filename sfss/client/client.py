"""The client for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import aiohttp
from yarl import URL

from sfss.client.base import BaseClient, like
from sfss.client.exchanges import AT_ONCE, Answer, NoAnswer, Request, Steps, check_size
from sfss.client.operations import Operations, several
from sfss.client.streams import Stream
from sfss.client.tasks import each
from sfss.client.values import Page, ServerUnreachable
from sfss.errors import SfssError
from sfss.network_errors import reason_of

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    steps: Callable[Concatenate[Operations, P], Steps[T]],
) -> "Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]":
    """The operation as a method that carries it out."""

    @like(steps)
    async def operation(self: "Client", /, *args: P.args, **keywords: P.kwargs) -> T:
        return await self._run(steps(self._operations, *args, **keywords))

    return operation


class Client(BaseClient):
    __doc__ = f"""{BaseClient.__doc__}
    *timeout* is for one try, whole; of a stream, for each piece. Files are read in a thread, and iterables where the
    client runs: one that blocks blocks the event loop. One client may be used by many tasks at once. It is
    open between ``async with`` and its end.
    """

    def _prepare(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._of_others = aiohttp.ClientTimeout(total=self._timeout)
        # How long a stream takes is its reader's affair.
        self._of_streams = aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=self._timeout)

    async def __aenter__(self) -> Self:
        """:raises InvalidRequest: if the *ca_file* cannot be used."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._trusted() or True),
            headers=self._headers,
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    put = _awaited(Operations.put)
    get = _awaited(Operations.get)
    head = _awaited(Operations.head)
    stat = _awaited(Operations.stat)
    delete = _awaited(Operations.delete)
    list_page = _awaited(Operations.list_page)
    get_many = _awaited(Operations.get_many)
    put_many = _awaited(Operations.put_many)
    kind = _awaited(Operations.kind)
    status = _awaited(Operations.status)

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

    async def delete_many(self, paths: Iterable[str]) -> dict[str, SfssError]:
        """Delete them; what failed, by its path. What is not there has not failed.

        :raises SfssError: what is wrong with the server or its store; a part of them may be deleted.
        """
        failures: dict[str, SfssError] = {}
        await each(several(paths), self.delete, failures.__setitem__)
        return failures

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator["AsyncStream"]:
        """The file, in pieces (``async for``), for contents that shall not be in memory whole::

            async with client.stream("film.mp4") as film:
                async for piece in film:
                    ...

        Begun, it is not tried again.

        :raises NotFound: when it is entered.
        """
        async with self._opened(self._operations.opened(path), path) as stream:
            yield stream

    @asynccontextmanager
    async def archive(self, prefix: str = "") -> AsyncIterator["AsyncStream"]:
        """A tar archive of all files whose paths begin with *prefix*, in pieces.

        :raises CannotList, Forbidden: when it is entered, if the store, or the server, does not say which these are.
        """
        async with self._opened(self._operations.archive_opened(prefix)) as stream:
            yield stream

    @asynccontextmanager
    async def _opened(self, steps: Steps[Answer], path: str | None = None) -> AsyncIterator["AsyncStream"]:
        answer = await self._run(steps)
        try:
            yield AsyncStream(self._url, answer, path)
        finally:
            answer.stream.close()

    async def _run(self, steps: Steps[T]) -> T:
        try:
            request = next(steps)
            while True:
                if request.pause:
                    await asyncio.sleep(request.pause)
                try:
                    answer = await self._ask(request)
                except NoAnswer as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ask(self, request: Request) -> Answer:
        """:raises NoAnswer:"""
        if self._session is None:
            raise RuntimeError("The client is not open: it works between 'async with' and its end.")
        content = request.content
        data: Any = None if content is None else content.whole
        if data is None and content is not None:
            data = aiter(content)
        try:
            response = await self._session.request(
                request.method,
                URL(self._url + request.target, encoded=True),
                data=data,
                headers=request.head(),
                allow_redirects=False,  # nobody is sent to another server
                timeout=self._of_streams if request.is_streamed else self._of_others,
            )
            if request.is_streamed and response.status == 200:
                return Answer(response.status, response.headers, stream=response)
            async with response:
                return Answer(response.status, response.headers, await _whole(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if content is not None and content.error is not None:
                raise content.error from None  # it would fail again
            raise NoAnswer(reason_of(error)) from error


class AsyncStream(Stream):
    """What :meth:`Client.stream` and :meth:`Client.archive` give: pieces, once."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """:raises ServerUnreachable: if it ends early. :raises UnexpectedAnswer: if it is not what its ETag says."""
        response: aiohttp.ClientResponse = self._answer.stream
        try:
            async for piece in response.content.iter_chunked(AT_ONCE):
                yield self._counted(piece)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerUnreachable(f"{self._url}: {reason_of(error)}") from error
        self._check_end()


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Its body. :raises UnexpectedAnswer: if it has no end."""
    body = bytearray()
    async for data in response.content.iter_chunked(AT_ONCE):
        body += data
        check_size(len(body))
    return bytes(body)
