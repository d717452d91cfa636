"""``POST /files`` and ``GET HEAD PUT DELETE /file``."""

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
from sfss.web.query import path_argument
from sfss.web.uploads import upload_of

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Files:
    """The files of *service*, with these *headers*. *upload_timeout*: seconds for the body of an upload."""

    def __init__(self, service: FileService, headers: FileHeaders, *, upload_timeout: float):
        self._service = service
        self._headers = headers
        self.upload_timeout = upload_timeout
        #: What answers them, by path and method.
        self.operations: dict[tuple[str, str], MakeOperation] = {
            ("/file", "GET"): self.get,
            ("/file", "HEAD"): self.head,
            ("/file", "PUT"): self.put,
            ("/file", "DELETE"): self.delete,
            ("/files", "POST"): self.post,
        }

    def get(self, request: Request) -> Operation:
        return Get(request, path_argument(request), self._service, self._headers)

    def head(self, request: Request) -> Operation:
        return head(request, path_argument(request), self._service, self._headers)

    def put(self, request: Request) -> Operation:
        return self._put(request, updated)

    def post(self, request: Request) -> Operation:
        return self._put(request, created)

    def delete(self, request: Request) -> Operation:
        path = path_argument(request)
        return Delete(request, path, self._service, write_precondition(request.headers))

    def _put(self, request: Request, written: Callable[[str, FileInfo], Response]) -> Operation:
        # All that can be wrong without the body is looked at before it is read.
        path = check_path(path_argument(request))
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
