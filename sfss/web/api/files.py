"""``POST /files`` and ``GET HEAD PUT DELETE /file?path=PATH``, or ``/file/PATH``."""

import json
from collections.abc import Callable
from urllib.parse import quote

from sfss.http.messages import Request, Response
from sfss.models import FileInfo
from sfss.paths import check_path
from sfss.service import FileService
from sfss.web.conditional import write_precondition
from sfss.web.content_headers import FileHeaders
from sfss.web.operations import Delete, Get, MakeOperation, Operation, Put, head
from sfss.web.query import FILE_BEGIN, file_in, names_a_file
from sfss.web.uploads import upload_of

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Files:
    """The files of *service*, with these *headers*. *upload_timeout*: seconds for the body of an upload."""

    def __init__(self, service: FileService, headers: FileHeaders, *, upload_timeout: float):
        self._service = service
        self._headers = headers
        self.upload_timeout = upload_timeout
        #: What answers them by method, and the route that they have in the metrics.
        self._of_file: dict[str, tuple[MakeOperation, str]] = {
            "GET": (self.get, "/file"),
            "HEAD": (self.head, "/file"),
            "PUT": (self.put, "/file"),
            "DELETE": (self.delete, "/file"),
        }
        self._of_files: tuple[MakeOperation, str] = (self.post, "/files")

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`."""
        if names_a_file(request):
            return self._of_file.get(request.method)
        return self._of_files if request.path == "/files" and request.method == "POST" else None

    def routes(self) -> list[tuple[str, str, MakeOperation]]:
        """See :class:`Api`."""
        named = FILE_BEGIN + r"{path:[\s\S]*}"  # a newline, too: it gets its 400
        found = [
            (path, method, make) for path in ("/file", named) for method, (make, _) in self._of_file.items()
        ]
        return [*found, ("/files", "POST", self.post)]

    def get(self, request: Request) -> Operation:
        return Get(request, file_in(request), self._service, self._headers)

    def head(self, request: Request) -> Operation:
        return head(request, file_in(request), self._service, self._headers)

    def put(self, request: Request) -> Operation:
        return self._put(request, updated)

    def post(self, request: Request) -> Operation:
        return self._put(request, created)

    def delete(self, request: Request) -> Operation:
        path = file_in(request)
        return Delete(request, path, self._service, write_precondition(request.headers))

    def _put(self, request: Request, written: Callable[[str, FileInfo], Response]) -> Operation:
        # All that can be wrong without the body is looked at before it is read.
        path = check_path(file_in(request))
        precondition = write_precondition(request.headers)
        limit = self._service.max_file_size
        if request.limit is not None:
            limit = min(limit, request.limit)
        upload = upload_of(request, limit, forms=True)
        return Put(request, path, self._service, precondition, upload, written)


def updated(path: str, info: FileInfo) -> Response:
    """The answer to a PUT that has happened."""
    return Response(200, _lines_of(info), _document(path, info))


def created(path: str, info: FileInfo) -> Response:
    """The answer to a POST that has happened."""
    location = f"Location: /file?path={quote(path, safe='/')}\r\n"
    return Response(201, _lines_of(info) + location, _document(path, info))


def _lines_of(info: FileInfo) -> str:
    return f'ETag: "{info.etag}"\r\nContent-Type: application/json; charset=utf-8\r\n'


def _document(path: str, info: FileInfo) -> bytes:
    return f'{{"path": {_encode(path)}, "size": {info.size}, "etag": "{info.etag}"}}\n'.encode()
