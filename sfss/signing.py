"""Signed URLs: who holds the key lets somebody else read or write one file for some time.

The signature is the HMAC-SHA256 (RFC 2104), in urlsafe base64 without padding, over four lines: the
method (GET or PUT), the path as it is after decoding, the time at which it expires (Unix seconds)
and the most bytes that may be put (empty for no limit but the server's). They stand in the query as
``path``, ``expires``, ``limit`` and ``signature``.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from urllib.parse import quote

from sfss.errors import Forbidden, InvalidRequest

#: What the clocks of who signs and who checks may differ by, in seconds.
CLOCK_SKEW = 30
METHODS = ("GET", "PUT")
SHORTEST_KEY = 16


def sign(key: str, method: str, path: str, expires: int, limit: int | None = None) -> str:
    """The signature of a URL. *expires*: Unix seconds. *limit*: bytes."""
    text = f"{method}\n{path}\n{expires}\n{'' if limit is None else limit}"
    digest = hmac.digest(key.encode(), text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def signed_query(key: str, method: str, path: str, *, lifetime: float, limit: int | None = None) -> str:
    """The query string that lets its bearer do *method* on *path* for *lifetime* seconds.

    :raises InvalidRequest: if that cannot be signed.
    """
    if method not in METHODS:
        raise InvalidRequest(f"A URL can be signed for {' or '.join(METHODS)}, not for {method}.")
    if len(key) < SHORTEST_KEY:
        raise InvalidRequest(f"A key has at least {SHORTEST_KEY} characters.")
    if limit is not None and (method != "PUT" or limit < 0):
        raise InvalidRequest("A limit is a number of bytes, and only for PUT.")
    expires = int(time.time() + lifetime)
    query = f"path={quote(path, safe='/')}&expires={expires}"
    if limit is not None:
        query += f"&limit={limit}"
    return f"{query}&signature={sign(key, method, path, expires, limit)}"


def check(
    keys: Iterable[str],
    method: str,
    path: str,
    *,
    expires: str | None,
    limit: str | None,
    signature: str,
    now: float | None = None,
) -> int | None:
    """The limit in bytes that the signature carries, None without one.

    A HEAD may be done with the signature of a GET. *now*: Unix seconds.

    :raises Forbidden: if the signature does not hold, or does not hold any more.
    """
    if method == "HEAD":
        method = "GET"
    has_numbers = _is_number(expires) and (limit is None or _is_number(limit))
    if method not in METHODS or expires is None or not has_numbers:
        raise Forbidden("The URL is not signed for this.")
    wanted = None if limit is None else int(limit)
    holds = False
    for key in keys:  # all of them: the time must not tell which one it was
        expected = sign(key, method, path, int(expires), wanted)
        holds |= hmac.compare_digest(expected.encode(), signature.encode())
    if not holds:
        raise Forbidden("The URL is not signed for this, or it was changed after that.")
    if int(expires) + CLOCK_SKEW < (time.time() if now is None else now):
        raise Forbidden("The signature of the URL has expired.")
    return wanted


def _is_number(text: str | None) -> bool:
    # One way to write each number, so that there is one text that is signed.
    return bool(text and len(text) <= 15 and text.isascii() and text.isdigit() and str(int(text)) == text)
