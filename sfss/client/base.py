"""What both clients have: the server's URL, who one is there, and how long is waited."""

import inspect
import ipaddress
import re
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Any, TypeVar, get_args
from urllib.parse import quote, unquote, urlsplit

from sfss.client.operations import Operations, is_plain
from sfss.errors import InvalidRequest
from sfss.models import DEFAULT_URL, SERVERS
from sfss.paths import check_path
from sfss.signing import signed_query

#: Seconds: more than anybody waits, and less than what a socket cannot take.
_LONGEST = 1e6

Method = TypeVar("Method", bound=Callable[..., Any])


def like(steps: Callable[..., Any]) -> Callable[[Method], Method]:
    """Give a method that carries out *steps* their name, their documentation, and their signature (of what they
    return: what that is in the end), as ``help()`` and editors show them.
    """

    def named(method: Method) -> Method:
        signature = inspect.signature(steps)
        _, _, result = get_args(signature.return_annotation)
        method.__name__, method.__doc__ = steps.__name__, steps.__doc__
        method.__qualname__ = steps.__name__
        method.__annotations__ = {**steps.__annotations__, "return": result}
        vars(method)["__signature__"] = signature.replace(return_annotation=result)
        return method

    return named


class BaseClient:
    """A client of the server at *url*, a gateway or a node. (A node refuses what only a gateway knows, and names itself
    in ``X-SFSS-Server``; the client then speaks to it as to a node.) What may go well the next time (a connection that
    fails, 502, 503, 504, 408) is tried again, with growing, jittered pauses: all operations are idempotent.

    *token*: what the server wants to have as ``Authorization: Bearer``, if anything. *timeout*: in seconds; what it
    limits differs, see below. *retries*: how often an operation is tried again; *retry_for*: in place
    of that, for how many seconds from its first failure, once the server has answered anything.
    *connections*: how many are open at once, at most. *server*: ``gateway`` or ``node``; without, that is
    found out. *ca_file*: the certificates (PEM) by which the server's is trusted, in place of the system's.

    :raises InvalidRequest: if one of these is invalid.
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
        if token and not is_plain(token):
            raise InvalidRequest("The token has characters that no token has.")
        if connections < 1 or not 0 < timeout < _LONGEST:
            raise InvalidRequest(
                f"connections is {connections} and timeout {timeout}; both must be more than 0."
            )
        self._url, basic = _server_in(url)
        if token and basic:
            raise InvalidRequest(
                "There are a token and a password in the URL; only one of them can be shown."
            )
        self._headers = {"Accept-Encoding": "identity"}  # the bytes as they were stored
        if token or basic:
            self._headers["Authorization"] = f"Bearer {token}" if token else f"Basic {basic}"
        self._timeout = timeout
        self._connections = connections
        self._ca_file = ca_file
        self._operations = Operations(self._url, retries=retries, retry_for=retry_for, server=server)
        self._prepare()

    def _prepare(self) -> None:
        """What a client has besides."""

    def url_of(self, path: str) -> str:
        """The URL of the file: of a gateway, until it is known that the server is a node.

        :raises InvalidPath:
        """
        return self._url + self._operations.target_of(path)

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

        :raises InvalidPath, InvalidRequest: if that cannot be signed, or the server is known to be a node.
        """
        if self._operations.server == "node":
            raise InvalidRequest("A node has no signed URLs.")
        query = signed_query(key, method, check_path(path), lifetime=lifetime, limit=limit)
        return f"{self._url}/file?{query}"

    def _trusted(self) -> ssl.SSLContext | None:
        """By what certificates are looked at; None: by the system's. :raises InvalidRequest:"""
        if self._ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            reason = error.strerror or error
            raise InvalidRequest(f"The CA file {self._ca_file} cannot be used: {reason}.") from error


def _server_in(url: str) -> tuple[str, str]:
    """The URL without a slash at its end and without a password; and that, as RFC 7617 wants it, or "".

    :raises InvalidRequest:
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("it must begin with http:// or https:// and a host")
        if parts.query or parts.fragment:
            raise ValueError("it has a query or a fragment")
        _check_host(parts.netloc.rpartition("@")[2], parts.hostname)
    except ValueError as error:
        raise InvalidRequest(f"{url!r} is not the URL of a server: {error}.") from None
    login, _, host = parts.netloc.rpartition("@")
    basic = b64encode(unquote(login if ":" in login else f"{login}:").encode()).decode() if login else ""
    return f"{parts.scheme}://{host}{quote(parts.path, safe='/%')}".rstrip("/"), basic


def _check_host(host: str, name: str) -> None:
    """That *host*, which may have a port, is *name*, and that is one. :raises ValueError:"""
    if host.startswith("["):
        ipaddress.IPv6Address(name.partition("%")[0])
        is_one = re.fullmatch(r"\[[^\[\]]+\](:[0-9]*)?", host)
    else:
        is_one = re.fullmatch(r"[a-z0-9._-]+", name.encode("idna").decode().lower())
    if not is_one:
        raise ValueError(f"{host} is no host")
