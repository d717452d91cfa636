"""HTTP from the threads of a Django site: one pool of connections for each process, none of which outlives a fork."""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import urllib3
from urllib3.util import Timeout

#: So many bytes are sent at once.
_PIECE = 256 * 1024
#: Connections that are kept open to each host.
_KEPT = 16


class NoAnswer(OSError):
    """There was no answer. *is_ambiguous*: the request may have been carried out, or will be."""

    def __init__(self, reason: str, is_ambiguous: bool):
        super().__init__(reason)
        self.is_ambiguous = is_ambiguous


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float,
) -> Answer:
    """One request, once. *timeout*: seconds for a connection, and for each step of the answer.

    :raises NoAnswer: if there is no whole one.
    """
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    pieces: bytes | Iterable[bytes] | None = body
    if body is not None and len(body) > _PIECE:
        # The time-out is for one piece: a large file may take longer than that.
        sent["Content-Length"] = str(len(body))
        pieces = (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))
    for is_last in (False, True):
        try:
            response = _pool.get().request(
                method,
                url,
                body=pieces,
                headers=sent,
                timeout=Timeout(connect=timeout, read=timeout),
                retries=False,
                redirect=False,
                decode_content=False,  # the bytes as they were stored
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # A server may close a kept connection while it is used again (RFC 9112 9.3.1). A question may be put
            # again; of what changes something nobody knows whether it was done.
            if is_last or not _was_closed(error) or method not in ("GET", "HEAD"):
                raise _no_answer(error) from error
        else:
            return Answer(response.status, response.headers, response.data)
    raise AssertionError("unreachable")


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token (RFC 6750 2.1)."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _was_closed(error: Exception) -> bool:
    return isinstance(error, urllib3.exceptions.ProtocolError) and any(
        isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in error.args
    )


def _no_answer(error: Exception) -> NoAnswer:
    not_sent = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.LocationValueError,
        urllib3.exceptions.NameResolutionError,
    )
    reason = str(error).rpartition(": ")[2] or type(error).__name__
    return NoAnswer(reason, is_ambiguous=not isinstance(error, not_sent))


class _Pool:
    """Makes one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: urllib3.PoolManager | None = None
        self._owner = 0

    def get(self) -> urllib3.PoolManager:
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                self._pool = urllib3.PoolManager(num_pools=64, maxsize=_KEPT, block=False)
                self._owner = os.getpid()
            return self._pool


_pool = _Pool()
