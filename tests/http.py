"""HTTP by hand, for what a client library would not send."""

import re
import socket
import struct
from typing import NamedTuple

from sfss.http.messages import Headers


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class RawClient:
    """One connection on which bytes are sent as they are."""

    def __init__(self, port: int, timeout: float = 10.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._rest = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Go without a word: the server is told at once that nobody reads any more."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def says_no_more(self) -> None:
        """Close the client's half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def closed_by_server(self) -> bool:
        try:
            return self._rest == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def answer(self, head: bool = False) -> Answer:
        """The next answer; *head*: to a HEAD, which has no body."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        raw, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", first)[1])
        headers = {name.lower(): value for name, _, value in (l.partition(": ") for l in lines)}
        assert len(headers) == len(lines), f"a header is repeated: {lines}"
        size = 0 if head or status < 200 else int(headers.get("content-length", 0))
        while len(self._rest) < size:
            self._receive()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Answer(status, headers, body)

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer(head=data.startswith(b"HEAD"))

    def receive(self, least: int) -> bytes:
        """So many bytes as they come, or a few more."""
        while len(self._rest) < least:
            self._receive()
        data, self._rest = self._rest, b""
        return data

    def rest(self) -> bytes:
        """All bytes that come until the server closes the connection, or resets it."""
        found = bytearray(self._rest)
        self._rest = b""
        try:
            while data := self._socket.recv(1 << 18):
                found += data
        except ConnectionResetError:
            pass
        return bytes(found)

    def _receive(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise EOFError(f"the server closed the connection after {self._rest!r}")
        self._rest += data


def ask(port: int, data: bytes) -> Answer:
    """The answer to *data* on a connection of its own."""
    with RawClient(port) as client:
        return client.ask(data)


def request(method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    lines = {"Host": "test", **(headers or {})}
    if body or method in ("PUT", "POST"):
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


def form(
    content: bytes, field: str = "upload_file", boundary: str = "b0undary", before: bytes = b""
) -> tuple[bytes, dict[str, str]]:
    """The body of a form with one file, and its headers."""
    body = (
        before
        + (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="f"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def headers_of(named: dict[str, str]) -> Headers:
    """Headers as the server sees them."""
    return Headers.of((name.encode(), value.encode()) for name, value in named.items())
