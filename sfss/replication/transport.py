"""Messages between nodes, over HTTP."""

from collections.abc import Mapping
from typing import Protocol

import aiohttp
from yarl import URL

from sfss.errors import SfssError
from sfss.network_errors import reason_of
from sfss.node_proofs import Prover
from sfss.replication.changes import Piece
from sfss.replication.requests import TooLarge

#: Where a node takes the messages of its neighbours, below its URL.
RESOURCE = "/_replication"
MEDIA_TYPE = "application/x-sfss-replication"

_CONNECT_TIMEOUT = 2.0  # seconds
_SILENCE_TIMEOUT = 20.0  # seconds without a byte
_TOTAL_TIMEOUT = 300.0  # seconds for one message and its answer
_KNOCK_TIMEOUT = 1.0
#: A message, or an answer, has at most so many bytes beside one file of the largest size.
MESSAGE_ROOM = 16 * 1024 * 1024


class PeerFailed(SfssError):
    """The neighbour could not be reached, or did not answer as it should.

    *reached*: whether it was there at all.
    """

    def __init__(self, reason: str, *, reached: bool):
        super().__init__(reason)
        self.reached = reached


class Transport(Protocol):
    """How messages travel."""

    async def exchange(self, url: str, message: list[Piece]) -> bytes:
        """The answer of the neighbour *url* to *message*. :raises PeerFailed, TooLarge:"""

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
        self._provers: dict[str, Prover] = {}  # by URL
        self.use_secret(secret)
        self._proxy = proxy or None
        timeout = aiohttp.ClientTimeout(
            total=_TOTAL_TIMEOUT, sock_connect=_CONNECT_TIMEOUT, sock_read=_SILENCE_TIMEOUT
        )
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    def use_secret(self, secret: str) -> None:
        self._secret = secret
        self._provers.clear()

    async def exchange(self, url: str, message: list[Piece]) -> bytes:
        body = b"".join(message)
        if not self._secret:
            status, headers, data = await self._post(url, body, {})
            return _checked(status, data)
        prover = self._provers.setdefault(url, Prover(self._secret))
        if not prover.has_nonce:  # an empty message, to be told one
            status, headers, data = await self._post(url, b"", {})
            if not prover.take_challenge(headers.get("WWW-Authenticate", "")):
                _checked(status if status != 200 else 403, data)
        for last in (False, True):
            proved = prover.request("POST", RESOURCE, body)
            authorization = {"Authorization": proved.authorization}
            status, headers, data = await self._post(url, body, authorization)
            if status != 401 or last or not prover.take_challenge(headers.get("WWW-Authenticate", "")):
                break  # (it may have been started anew, or the nonce was used up)
        if status == 200 and not proved.is_answered_by(status, headers, data):
            raise PeerFailed("it has not proved that it knows the node secret", reached=True)
        return _checked(status, data)

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer. :raises PeerFailed:"""
        try:
            async with self._session.post(
                URL(url + RESOURCE, encoded=True),
                data=body,
                headers={"Content-Type": MEDIA_TYPE, **headers},
                proxy=self._proxy,
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    return answer.status, answer.headers, await answer.content.read(500)
                return answer.status, answer.headers, await self._read(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise PeerFailed(reason_of(error), reached=False) from error

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
            raise PeerFailed("its answer is too long", reached=True)
        return b"".join(chunks)


def _checked(status: int, data: bytes) -> bytes:
    """The answer. :raises PeerFailed, TooLarge: if it is none."""
    if status == 200:
        return data
    reason = data.decode("utf-8", "replace")
    if status == 413:
        raise TooLarge(f"it is too large for the neighbour: {reason}")
    raise PeerFailed(f"it answers {status}: {reason}", reached=True)
