"""The plain GET of a file, answered without a task, a request object or a router.

Most requests to a file service are ``GET /file?path=…`` with a few headers that change
nothing. Those are recognised by their bytes and answered at once; *every* other sequence of
bytes is left to aiohttp, untouched and in order. What is recognised is little, by intent:

* one chunk of bytes that is one whole head: a request line with a path of unreserved
  characters, so that nothing needs decoding, and headers that are all known to change nothing;
* a store that has the file, and can say so without a coroutine. A miss and any failure go
  through aiohttp as if nothing had been tried: a get changes nothing.

The answer is byte for byte what aiohttp would have sent; ``tests/test_fastpath.py`` holds the two
against each other.
"""

import re
import time
from email.utils import formatdate
from functools import lru_cache

from sfss.models import StoredFile
from sfss.service import content_type_of
from sfss.web.app import COMMON_HEADERS

#: Longer ones are left to aiohttp. It also bounds what the memory of heads can grow to.
MAX_HEAD_BYTES = 2048

_REQUEST_LINE = re.compile(rb"GET /file\?path=([A-Za-z0-9._~/-]+) HTTP/1\.1\r\n")
# RFC 9110 5.5: visible ASCII with single blanks inside; anything fancier is for aiohttp.
_HEADER = re.compile(rb"([A-Za-z0-9-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
#: What a GET may carry without changing its answer.
_CHANGES_NOTHING = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control cookie dnt host origin "
    b"pragma priority referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest "
    b"sec-fetch-mode sec-fetch-site sec-fetch-user upgrade-insecure-requests user-agent via "
    b"x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip".split()
)


def plain_get(data: bytes) -> str | None:
    """The path that *data* asks for, if it is exactly one plain GET. It may be invalid still."""
    if len(data) > MAX_HEAD_BYTES:
        return None
    line = _REQUEST_LINE.match(data)
    if line is None or not _changes_nothing(data[line.end() :]):
        return None
    return line[1].decode()


@lru_cache(maxsize=1024)  # a client sends the same headers again and again
def _changes_nothing(headers: bytes) -> bool:
    """Whether *headers* are whole, end where the head ends, and none of them matters."""
    if not headers.endswith(b"\r\n\r\n"):
        return False
    hosts = 0
    for header in headers[:-4].split(b"\r\n"):
        match = _HEADER.fullmatch(header)
        if match is None:
            return False
        name = match[1].lower()
        if name == b"connection":
            if match[2] is None or match[2].lower() != b"keep-alive":
                return False
        elif name not in _CHANGES_NOTHING:
            return False
        hosts += name == b"host"
    return hosts == 1  # RFC 9112 3.2


_COMMON = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS.items())


def head_of_answer(path: str, file: StoredFile, request_id: str, *, close: bool) -> bytes:
    """The head of the answer 200 that sends *file*."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type_of(path)}\r\n"
        f'ETag: "{file.etag}"\r\nAccept-Ranges: bytes\r\n{_COMMON}X-Request-ID: {request_id}\r\n'
        f"Content-Length: {len(file.content)}\r\nDate: {_date(int(time.time()))}\r\n"
        f"{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n"
    ).encode("ascii")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
