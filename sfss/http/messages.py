"""A request and a response, as small as they can be, for the rules of the web floor."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any

from sfss.admission import Room

#: The start of an answer: its status line.
STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n" for status in HTTPStatus}
#: Answers with these never have a body, nor a length (RFC 9110 6.4.1, 8.6).
WITHOUT_BODY = frozenset((204, 304))

CLOSE_LINE = "Connection: close\r\n"


class Headers:
    """The headers of a request. Names are given in lower case.

    Lines of the same name count as one, with commas between them (RFC 9110 5.3).
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, bytes]):
        self.raw = raw  #: by name in lower case; not decoded, perhaps with blanks around

    @classmethod
    def of(cls, lines: Iterable[tuple[bytes, bytes]]) -> "Headers":
        raw: dict[str, bytes] = {}
        for name, value in lines:
            add_header(raw, name.lower().decode("latin-1"), value)
        return cls(raw)

    def __contains__(self, name: str) -> bool:
        return name in self.raw

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __getitem__(self, name: str) -> str:
        """:raises KeyError:"""
        return _text(self.raw[name])

    def get(self, name: str, default: str = "") -> str:
        """The value, *default* without the header. Bytes that are not UTF-8 become surrogates."""
        value = self.raw.get(name)
        return default if value is None else _text(value)


def add_header(raw: dict[str, bytes], name: str, value: bytes) -> None:
    """Add one line to those of *raw*."""
    before = raw.get(name)
    if before is not None:
        value = before + (b"; " if name == "cookie" else b", ") + value
    raw[name] = value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").strip(" \t")


class Head:
    """What the head of a request says."""

    __slots__ = (
        "has_body",
        "headers",
        "is_http_1_0",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "target",
    )

    method: str
    #: In origin-form (RFC 9112 3.2.1), or ``*``; what is not ASCII is percent-encoded. It is not decoded.
    target: str
    path: str  #: the target up to the first ``?``
    query: str  #: the rest
    headers: Headers
    has_body: bool
    length: int | None  #: of the body in bytes, None if it is not announced (or there is none)
    is_http_1_0: bool
    keep_alive: bool  #: whether the client wants another answer on this connection


class Request(Head):
    """What a client asks for. *remote*: the address of the client, "" if it has none."""

    __slots__ = ("claim", "id", "limit", "remote", "room", "started")

    def __init__(self, remote: str = ""):
        self.remote = remote
        self.started = perf_counter()
        self.id = ""  #: stands in the log and in the answer
        self.limit: int | None = None  #: how many bytes a signed URL allows to put
        self.room: Room | None = None  #: what it has of the bytes that may be under way
        self.claim: Any = None  #: of a node, that has to be proved: :class:`sfss.node_proofs.Claim`

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        headers: Headers,
        *,
        length: int | None = None,
        has_body: bool = False,
        is_http_1_0: bool = False,
        remote: str = "",
    ) -> "Request":
        """One that somebody else has framed."""
        request = cls(remote)
        request.method = method
        request.target = target
        request.path, _, request.query = target.partition("?")
        request.headers = headers
        request.length = length
        request.has_body = has_body
        request.is_http_1_0 = is_http_1_0
        request.keep_alive = False
        return request


class Response:
    """An answer. *lines*: its headers, each with CRLF at its end, without those that frame it.

    *length*: what ``Content-Length`` says, if that is not the size of *body* (the answer to a HEAD).
    """

    __slots__ = ("body", "close", "length", "lines", "status")

    def __init__(
        self,
        status: int,
        lines: str = "",
        body: bytes | bytearray | memoryview = b"",
        *,
        length: int | None = None,
        close: bool = False,
    ):
        self.status = status
        self.lines = lines
        self.body = body
        self.length = len(body) if length is None else length
        self.close = close  #: the connection, behind it

    def add(self, name: str, value: str) -> None:
        self.lines += f"{name}: {value}\r\n"

    def headers(self) -> list[tuple[str, str]]:
        """Those of *lines*, one by one."""
        pairs = (line.partition(": ") for line in self.lines.split("\r\n") if line)
        return [(name, value) for name, _, value in pairs]


def header_lines(headers: Mapping[str, str]) -> str:
    """*headers* as :class:`Response` has them."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
