"""Messages between nodes, over HTTP."""

from typing import Protocol

import aiohttp
from yarl import URL

from sfss.errors import SfssError
from sfss.replication.asking import TooLarge

#: Where a node takes the messages of its neighbours, below its URL.
RESOURCE = "/_replication"
MEDIA_TYPE = "application/x-sfss-replication"

_CONNECT_TIMEOUT = 2.0  # seconds
_SILENCE_TIMEOUT = 20.0  # seconds without a byte
_TOTAL_TIMEOUT = 300.0  # seconds for one message and its answer
_KNOCK_TIMEOUT = 1.0
#: A message, or an answer, has at most so many bytes beside one file of the largest size.
MESSAGE_ROOM = 16 * 1024 * 1024


class NeighbourFailed(SfssError):
    """The neighbour could not be reached, or did not answer as it should.

    *reached*: whether it was there at all.
    """

    def __init__(self, reason: str, *, reached: bool):
        super().__init__(reason)
        self.reached = reached


class Transport(Protocol):
    """How messages travel."""

    async def exchange(self, url: str, message: list[bytes]) -> bytes:
        """The answer of the neighbour *url* to *message*. :raises NeighbourFailed, TooLarge:"""

    async def knock(self, url: str) -> bool:
        """Whether the neighbour can be reached."""

    def use_secret(self, secret: str) -> None:
        """What neighbours know this node by from now on."""

    async def close(self) -> None: ...


class HttpTransport:
    """*secret*: what neighbours know each other by, or "". *proxy*: an HTTP proxy's URL, or "".

    *max_file_size*: an answer that brings more is none.
    """

    def __init__(self, secret: str, proxy: str, max_file_size: int):
        self._most_bytes = max_file_size + MESSAGE_ROOM
        self.use_secret(secret)
        self._proxy = proxy or None
        timeout = aiohttp.ClientTimeout(
            total=_TOTAL_TIMEOUT, sock_connect=_CONNECT_TIMEOUT, sock_read=_SILENCE_TIMEOUT
        )
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    def use_secret(self, secret: str) -> None:
        self._headers = {"Content-Type": MEDIA_TYPE}
        if secret:
            self._headers["Authorization"] = f"Bearer {secret}"

    async def exchange(self, url: str, message: list[bytes]) -> bytes:
        try:
            async with self._session.post(
                URL(url + RESOURCE, encoded=True),
                data=b"".join(message),
                headers=self._headers,
                proxy=self._proxy,
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    reason = (await answer.content.read(500)).decode("utf-8", "replace")
                    if answer.status == 413:
                        raise TooLarge(f"it is too large for the neighbour: {reason}")
                    raise NeighbourFailed(f"it answers {answer.status}: {reason}", reached=True)
                return await self._read(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise NeighbourFailed(reason, reached=False) from error

    async def knock(self, url: str) -> bool:
        try:
            async with self._session.get(
                URL(url + "/healthz", encoded=True),
                proxy=self._proxy,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_KNOCK_TIMEOUT),
            ) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False

    async def close(self) -> None:
        await self._session.close()

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        chunks = []
        size = answer.content_length or 0
        if size <= self._most_bytes:
            size = 0
            async for chunk in answer.content.iter_any():
                size += len(chunk)
                if size > self._most_bytes:
                    break
                chunks.append(chunk)
        if size > self._most_bytes:
            answer.close()
            raise NeighbourFailed("its answer is too long", reached=True)
        return b"".join(chunks)
