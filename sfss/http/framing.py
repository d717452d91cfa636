"""Where messages begin and end in the bytes of a connection. No I/O.

The rules kept here (RFC 9112):

* A head ends with the first empty line, and is looked at when it is whole. Its grammar is llhttp's
  (by httptools), which is given exactly one head at a time: where the message ends is decided here.
* A body has the announced length, or is chunked (7.1), or there is none. Two announcements, an announcement
  that is repeated, and any other coding are errors (6.1, 6.3).
* ``Upgrade`` changes nothing (RFC 9110 7.8 allows to ignore it): what comes behind the head is the body, if
  one is announced, and then the next request.
* CRLFs before a request line are nothing (2.2).
* After an error nobody knows where the next message begins: nothing more is read.
"""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sfss.errors import HeadTooLarge, InvalidRequest, LengthRequired, VersionNotSupported
from sfss.http.messages import Head, Headers, add_header

#: A request line and all headers together have at most so many bytes.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 120
#: What chunks may have around the content: extensions and trailers; and one line of them.
MAX_CHUNK_OVERHEAD = 64 * 1024
_MAX_CHUNK_LINE = 4096

_HEAD_END = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}"
#: A request line, and the beginning of one.
_LINE = re.compile(_TOKEN + rb" [^\x00-\x20\x7f]+ HTTP/[0-9]\.[0-9]\r\n")
_LINE_BEGINS = re.compile(_TOKEN + rb"(?: [^\x00-\x20\x7f]*(?: [HTP/0-9.]{0,8}\r?)?)?")
#: llhttp knows them, too; they are of RTSP and of Icecast.
_OF_OTHER_PROTOCOLS = frozenset(
    ("ANNOUNCE", "DESCRIBE", "FLUSH", "GET_PARAMETER", "PAUSE", "PLAY", "RECORD", "REDIRECT", "SETUP")
    + ("SET_PARAMETER", "SOURCE", "TEARDOWN")
)
#: RFC 9110 7.2, RFC 3986 3.2.2: uri-host [ ":" port ]
_HOST = re.compile(rb"[ \t]*(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?[ \t]*")
_AUTHORITY = re.compile(rb"[^/?#]*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH = re.compile(rb"[ \t]*([0-9]{1,18})[ \t]*")

#: Spellings that are seen often, so that they need not be changed each time. It never grows.
_LOWERED = {
    spelling.encode(): name
    for name in (
        "accept accept-charset accept-encoding accept-language authorization cache-control connection "
        "content-length content-type cookie dnt expect host if-match if-modified-since if-none-match if-range "
        "if-unmodified-since origin pragma priority range referer sec-ch-ua sec-ch-ua-mobile "
        "sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user traceparent tracestate "
        "transfer-encoding upgrade upgrade-insecure-requests user-agent via x-content-sha1 x-forwarded-for "
        "x-forwarded-host x-forwarded-proto x-real-ip x-request-id"
    ).split()
    for spelling in (name, name.title())
} | {b"DNT": "dnt", b"X-Content-SHA1": "x-content-sha1", b"X-Request-ID": "x-request-id"}


class HeadParser:
    """Takes heads, one at a time."""

    __slots__ = ("_hosts", "_is_whole", "_known_host", "_parser", "_raw", "_target")

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._is_whole = False
        self._target = b""
        self._raw: dict[str, bytes] = {}
        self._hosts = 0
        self._known_host = b""  # it was looked at before

    def parse(self, data: bytes, head: Head) -> None:
        """Fill *head* with what *data* says: one head, with the empty line at its end.

        :raises InvalidRequest, VersionNotSupported, LengthRequired: and the connection is of no use any more.
        """
        raw: dict[str, bytes] = {}
        self._raw = raw
        self._target = b""
        self._hosts = 0
        self._is_whole = False
        if not data.isascii():
            data = _with_ascii_line(data)
        parser = self._parser
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._is_whole = False
        except HttpParserError as error:
            raise InvalidRequest(f"This is not valid HTTP: {error}.") from None
        head.headers = Headers(raw)
        method = parser.get_method().decode("ascii")
        head.method = method
        # RFC 9112 9.3. (llhttp forgets it as soon as a message is whole.)
        end = data.find(b"\r\n")
        is_http_1_0 = head.is_http_1_0 = not data.endswith(b" HTTP/1.1", 0, end)
        head.keep_alive = not is_http_1_0
        if data.count(b" ", 0, end) != 2 or method in _OF_OTHER_PROTOCOLS:
            raise InvalidRequest("This is not valid HTTP: it does not begin with a request line.")
        if is_http_1_0 and not data.endswith(b" HTTP/1.0", 0, end):
            raise VersionNotSupported("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        if "connection" in raw:
            options = [option.strip() for option in raw["connection"].lower().split(b",")]
            head.keep_alive = b"close" not in options and (not is_http_1_0 or b"keep-alive" in options)
        if not self._is_whole:  # there is a body, or llhttp believes that another protocol comes
            self._parser = HttpRequestParser(self)
        if "content-length" in raw or "transfer-encoding" in raw or is_http_1_0:
            head.length = _body_length(raw, method, is_http_1_0)
            head.has_body = head.length != 0
        else:
            head.length = None
            head.has_body = False
        target = self._target
        if not target.startswith(b"/"):
            target = self._origin_form(target, method)
        if len(raw) > MAX_HEADERS:
            raise HeadTooLarge(f"A request has at most {MAX_HEADERS} headers.")
        if self._hosts != 1 or raw["host"] != self._known_host:
            self._check_host(is_http_1_0)
        text = head.target = target.decode("ascii")
        head.path, _, head.query = text.partition("?")

    # What llhttp finds.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = _LOWERED.get(name) or name.lower().decode("latin-1")
        if key == "host":
            self._hosts += 1
        raw = self._raw
        if key in raw:
            add_header(raw, key, value)
        else:
            raw[key] = value

    def on_message_complete(self) -> None:
        self._is_whole = True

    def _origin_form(self, target: bytes, method: str) -> bytes:
        """RFC 9112 3.2: absolute-form has the host before the path, and it counts; ``*`` is for OPTIONS."""
        if target == b"*" and method == "OPTIONS":
            return target
        scheme, mark, rest = target.partition(b"://")
        if not mark or scheme.lower() not in (b"http", b"https"):
            raise InvalidRequest("This is not valid HTTP: the target of the request is none of a URL.")
        authority = _AUTHORITY.match(rest)
        self._raw["host"] = authority[0] if authority else b""
        path = rest[len(self._raw["host"]) :]
        return path if path.startswith(b"/") else b"/" + path

    def _check_host(self, is_http_1_0: bool) -> None:
        # RFC 9112 3.2: one, and a valid one; it may be empty. Only HTTP/1.0 may be without.
        if self._hosts == 0 and not is_http_1_0:
            raise InvalidRequest("This is not valid HTTP: the header Host is missing.")
        host = self._raw.get("host", b"")
        if self._hosts > 1 or not _HOST.fullmatch(host):
            raise InvalidRequest("This is not valid HTTP: Host is repeated, or names no host.")
        self._known_host = host


def _body_length(raw: dict[str, bytes], method: str, is_http_1_0: bool) -> int | None:
    """Bytes of the body, 0 if there is none; None: it is chunked."""
    coding = raw.get("transfer-encoding")
    announced = raw.get("content-length")
    if coding is not None:
        # RFC 9112 6.1: a 1.0 message with it is faulty, whatever else it says.
        if is_http_1_0:
            raise InvalidRequest("HTTP/1.0 knows no Transfer-Encoding.")
        if announced is not None:
            raise InvalidRequest("A request has a Content-Length or a Transfer-Encoding, not both.")
        if coding.strip(b" \t").lower() != b"chunked":
            raise InvalidRequest("The only Transfer-Encoding known is chunked.")
        return None
    if announced is not None:
        match = _LENGTH.fullmatch(announced)
        if match is None:
            raise InvalidRequest("This is not valid HTTP: Content-Length is no number.")
        return int(match[1])
    if method in ("PUT", "POST"):
        raise LengthRequired("In HTTP/1.0 a body needs a Content-Length.")
    return 0


def _with_ascii_line(data: bytes) -> bytes:
    """*data*, with what is not ASCII in its first line percent-encoded: clients send names as they are typed."""
    end = data.find(b"\r\n")
    line = _NOT_ASCII.sub(lambda byte: b"%%%02X" % byte[0][0], data[:end])
    return line + data[end:]


def head_size(data: bytes, known: int = 0) -> int:
    """How many bytes of *data* its head has, with the empty line; 0 if it is not whole.

    *known*: in so many bytes it does not end.

    :raises HeadTooLarge: if it has too many. :raises InvalidRequest: if it will never be one.
    """
    end = data.find(_HEAD_END, max(known - 3, 0), MAX_HEAD_BYTES)
    if end >= 0:
        return end + 4
    if len(data) >= MAX_HEAD_BYTES:
        raise HeadTooLarge(f"The head of a request has at most {MAX_HEAD_BYTES} bytes.")
    if not (_LINE.match(data) or _LINE_BEGINS.fullmatch(data)):
        raise InvalidRequest("This is not valid HTTP: it does not begin with a request line.")
    return 0


class LengthBody:
    """A body of *left* bytes."""

    __slots__ = ("left",)

    def __init__(self, left: int):
        self.left = left  #: bytes still to come, as far as is known

    @property
    def is_whole(self) -> bool:
        return self.left == 0

    def take(self, data: bytes) -> tuple[list[bytes], int]:
        """The content in *data*, and how many bytes of *data* belong to this body."""
        size = len(data)
        if size <= self.left:
            self.left -= size
            return [data], size
        size, self.left = self.left, 0
        return [data[:size]], size


class ChunkedBody:
    """A chunked body (RFC 9112 7.1). Extensions and trailers are read over."""

    __slots__ = ("_in_trailers", "_line", "_overhead", "is_whole", "left")

    def __init__(self) -> None:
        self.left = 0  #: bytes of this chunk, its line break included, still to come
        self.is_whole = False
        self._line = b""  # what has come of a line
        self._in_trailers = False
        self._overhead = 0

    def take(self, data: bytes) -> tuple[list[bytes], int]:
        """As :meth:`LengthBody.take`. :raises InvalidRequest: if it is not framed as it should be."""
        pieces = []
        position, size = 0, len(data)
        while position < size and not self.is_whole:
            if self.left > 2:
                end = min(position + self.left - 2, size)
                pieces.append(data[position:end])
                self.left -= end - position
                position = end
            elif self.left:  # the line break behind a chunk
                if data[position] != b"\n\r"[self.left - 1]:
                    raise InvalidRequest("The body is not framed as the headers say: a chunk does not end.")
                self.left -= 1
                position += 1
            else:
                end = data.find(b"\n", position)
                end = size if end < 0 else end + 1
                self._line += data[position:end]
                position = end
                if len(self._line) > _MAX_CHUNK_LINE:
                    raise InvalidRequest("The body is not framed as the headers say: a line is too long.")
                if self._line.endswith(b"\n"):
                    self._take_line()
        return pieces, position

    def _take_line(self) -> None:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise InvalidRequest("The body is not framed as the headers say: a line ends without CR.")
        line = line[:-2]
        if self._in_trailers:
            self._overhead += len(line)
            self.is_whole = not line
        else:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise InvalidRequest("The body is not framed as the headers say: no chunk size.")
            length = int(match[1], 16)
            self._overhead += len(line) - len(match[1])
            if length:
                self.left = length + 2
            else:
                self._in_trailers = True
        if self._overhead > MAX_CHUNK_OVERHEAD:
            raise InvalidRequest("The body is not framed as the headers say: too much around the chunks.")


Body = LengthBody | ChunkedBody
