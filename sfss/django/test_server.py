"""A media server for the tests of a site: in this process, in memory."""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TestHttpServer:
    """Takes GET, HEAD, PUT and DELETE at *host*:*port* (0: any that is free; see :attr:`port`).

    *readonly*: PUT and DELETE are refused. *override_code*: the status of every answer, or None.
    """

    __test__ = False  # it is no test

    def __init__(self, host: str = "127.0.0.1", port: int = 4080, readonly: bool = False):
        self.files: dict[str, bytes] = {}
        self.readonly = readonly
        self.override_code: int | None = None
        self.log: list[str] = []  #: ``METHOD /path STATUS`` of each request
        self._server = _Server((host, port), self)
        self.port = self._server.server_address[1]
        self._thread: threading.Thread | None = None

    def has_file(self, name: str) -> bool:
        """Whether there is one; *name*: the path of its URL."""
        return name in self.files

    def get_file(self, name: str) -> bytes:
        """Its content. :raises KeyError:"""
        return self.files[name]

    def create_file(self, name: str, content: bytes) -> None:
        """Make one."""
        self.files[name] = content

    def delete_file(self, name: str) -> None:
        """Remove one. :raises KeyError:"""
        del self.files[name]

    def run(self) -> None:
        """Begin to serve, in a thread."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that, and every connection."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.end_connections()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], files: TestHttpServer):
        self.owner = files
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Clients keep them open; each has a thread."""
        for request in list(self._open):
            with suppress(OSError):  # it has just ended by itself
                request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> None:
        owner = self.server.owner
        if owner.override_code is not None:
            status, body = owner.override_code, b""
        owner.log.append(f"{self.command} {self.path} {status}")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        content = self.server.owner.files.get(self.path)
        if content is None:
            self._answer(404)
        else:
            self._answer(200, content)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        owner = self.server.owner
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if owner.readonly:
            self._answer(403)
            return
        was_there = self.path in owner.files
        if owner.override_code is None:
            owner.files[self.path] = content
        self._answer(204 if was_there else 201)

    def do_DELETE(self) -> None:
        owner = self.server.owner
        if owner.readonly:
            self._answer(403)
        elif owner.override_code is None and owner.files.pop(self.path, None) is None:
            self._answer(404)
        else:
            self._answer(204)

    def log_message(self, *arguments: Any) -> None:
        """Nothing to standard error."""
