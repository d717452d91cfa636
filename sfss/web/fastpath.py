"""The plain requests for a file, answered without a task, a request object or a router.

Most requests to a file service are ``GET /file?path=…``, or a ``PUT`` of a few kilobytes, with
headers that change nothing. Those are recognised by their bytes and answered at once; *every*
other sequence of bytes is left to aiohttp, untouched and in order. What is recognised is little,
by intent: one chunk of bytes that is one whole request, with a path of unreserved characters, so
that nothing needs decoding, and headers that are all known to change nothing.

The answer is byte for byte what aiohttp would have sent; ``tests/test_fastpath.py`` holds the two
against each other.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web

from sfss.models import StoredFile
from sfss.web.serving import date_of_now, header_lines

#: Longer heads are left to aiohttp. It also bounds what the memory of heads can grow to.
MAX_HEAD_BYTES = 2048
MAX_HEADERS = 64

_REQUEST_LINE = re.compile(
    rb"(GET /file|PUT /file|POST /files)\?path=([A-Za-z0-9._~/-]+) HTTP/1\.1\r\n"
)
_ROUTES = {
    b"GET /file": ("GET", "/file"),
    b"PUT /file": ("PUT", "/file"),
    b"POST /files": ("POST", "/files"),
}
#: The same of a node, where the path is the URL.
_NODE_REQUEST_LINE = re.compile(rb"(GET|PUT) /([A-Za-z0-9.~-][A-Za-z0-9._~/-]*) HTTP/1\.1\r\n")
NODE_RESOURCE = "/{path}"
# RFC 9110 5.5: visible ASCII with single blanks inside; anything fancier is for aiohttp.
_HEADER = re.compile(rb"([A-Za-z0-9-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
#: What a request may carry without changing its answer.
_CHANGES_NOTHING = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control cookie dnt host "
    b"pragma priority referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest "
    b"sec-fetch-mode sec-fetch-site sec-fetch-user upgrade-insecure-requests user-agent via "
    b"x-forwarded-host x-forwarded-proto x-real-ip".split()
)


class PlainRequest(NamedTuple):
    method: str
    resource: str  #: ``/file`` or ``/files``
    path: str  #: not yet looked at: it may be invalid
    forwarded: tuple[str, ...]  #: the lines of X-Forwarded-For
    host: str  #: the header Host
    body: bytes

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return f"/{self.path}" if self.resource == NODE_RESOURCE else f"{self.resource}?path={self.path}"


def plain_request(data: bytes) -> PlainRequest | None:
    """What *data* asks for, if it is exactly one plain request."""
    line = _REQUEST_LINE.match(data)
    if line is None:
        return None
    start, path = line.groups()
    return _plain(data, line.end(), *_ROUTES[start], path)


def plain_node_request(data: bytes) -> PlainRequest | None:
    """The same, of a node. (The names that mean something else there are of those with a ``_``, or
    :func:`sfss.replication.names.is_reserved` knows them.)
    """
    line = _NODE_REQUEST_LINE.match(data)
    if line is None:
        return None
    return _plain(data, line.end(), line[1].decode(), NODE_RESOURCE, line[2])


def _plain(
    data: bytes, headers_start: int, method: str, resource: str, path: bytes
) -> PlainRequest | None:
    head_size = data.find(b"\r\n\r\n", headers_start - 2, MAX_HEAD_BYTES) + 4
    if head_size < 4:
        return None
    headers = _plain_headers(data[headers_start:head_size])
    if headers is None:
        return None
    announced, forwarded, host = headers
    body = data[head_size:]
    is_get = method == "GET"
    # A GET announces no body, and a PUT must announce the one that is here.
    if announced != (-1 if is_get else len(body)) or (is_get and body):
        return None
    return PlainRequest(method, resource, path.decode("ascii"), forwarded, host, body)


@lru_cache(maxsize=1024)  # a client sends the same headers again and again
def _plain_headers(headers: bytes) -> tuple[int, tuple[str, ...], str] | None:
    """What matters of plain *headers*, which end with an empty line; None: they are not plain.

    That is the Content-Length (-1 without one), the lines of X-Forwarded-For, and the Host.
    """
    length = -1
    forwarded = []
    hosts = []
    lines = headers[:-4].split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        return None
    for header in lines:
        match = _HEADER.fullmatch(header)
        if match is None:
            return None
        name, value = match[1].lower(), match[2] or b""
        if name == b"connection":
            if value.lower() != b"keep-alive":
                return None
        elif name == b"content-length":
            if length >= 0 or not value.isdigit() or len(value) > 9:
                return None
            length = int(value)
        elif name == b"content-type":
            if value.lower().startswith(b"multipart/"):
                return None
        elif name == b"x-forwarded-for":
            forwarded.append(value.decode())
        elif name not in _CHANGES_NOTHING:
            return None
        elif name == b"host":
            hosts.append(value.decode())
        elif name == b"sec-fetch-site" and value.lower() == b"cross-site":
            return None  # it matters for writes: see doors.py
    if len(hosts) != 1:  # RFC 9112 3.2
        return None
    return length, tuple(forwarded), hosts[0]


_CLOSE = "Connection: close\r\n"


class Heads:
    """The heads of answers.

    *common*: headers of every answer; *of_file*: gives the lines for a path and its file.
    """

    def __init__(self, common: Mapping[str, str], of_file: Callable[[str, StoredFile], str]):
        self._common = header_lines(common)
        self._lines_of = of_file

    def of_file(self, path: str, file: StoredFile, request_id: str, *, close: bool) -> bytes:
        """The head of the answer that sends *file*."""
        return (
            f"HTTP/1.1 200 OK\r\n{self._lines_of(path, file)}{self._common}"
            f"X-Request-ID: {request_id}\r\n"
            f"Content-Length: {len(file.content)}\r\nDate: {date_of_now()}\r\n"
            f"{_CLOSE if close else ''}\r\n"
        ).encode("ascii")

    def whole(self, response: web.Response, request_id: str, *, close: bool) -> bytes:
        """*response* as aiohttp would send it."""
        body = response.body or b""
        # RFC 9110 8.6: a 204 has no Content-Length.
        length = "" if response.status == 204 else f"Content-Length: {len(body)}\r\n"
        return (
            f"HTTP/1.1 {response.status} {response.reason}\r\n{header_lines(response.headers)}"
            f"{self._common}X-Request-ID: {request_id}\r\n{length}"
            f"Date: {date_of_now()}\r\n{_CLOSE if close else ''}\r\n"
        ).encode("ascii") + body
