"""``POST /files`` and ``GET HEAD PUT DELETE /file``; and what is served alike by a node."""

import json
from collections.abc import Mapping
from urllib.parse import quote

from aiohttp import web

from sfss.models import FileInfo
from sfss.paths import check_path
from sfss.service import FileService
from sfss.web.arguments import path_argument
from sfss.web.conditional import is_unchanged, requested_range, write_precondition
from sfss.web.doors import LIMIT
from sfss.web.serving import FileHeaders, depends_on_content, is_utf8_text
from sfss.web.uploads import expected_size, leave_expectation, read_upload


#: The headers that may make another answer of a GET than the whole file.
_CONDITIONS = frozenset(
    ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range")
)


class Serving:
    """``GET`` and ``HEAD`` of the files of *service*, with these *headers*."""

    def __init__(self, service: FileService, headers: FileHeaders):
        self._service = service
        self._headers = headers

    def path_of(self, request: web.Request) -> str:
        """Which file *request* is about. :raises InvalidRequest:"""
        return path_argument(request)

    async def get(self, request: web.Request) -> web.Response:
        path = self.path_of(request)
        file = await self._service.get(path)
        content = file.content
        headers = self._headers.of(path, file, is_utf8=is_utf8_text(path, content))
        asked = request.headers
        if not _CONDITIONS.isdisjoint(asked):
            info = FileInfo(len(content), file.etag, file.modified)
            if is_unchanged(asked, info):
                return _not_modified(headers)
            if part := requested_range(asked, info):
                start, stop = part
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{info.size}"
                return web.Response(status=206, body=content[start:stop], headers=headers)
        return web.Response(body=content, headers=headers)

    async def head(self, request: web.Request) -> web.Response:
        path = self.path_of(request)
        is_utf8 = False
        if depends_on_content(path):
            file = await self._service.get(path)
            info, is_utf8 = file.info, is_utf8_text(path, file.content)
        else:
            info = await self._service.stat(path)
        headers = self._headers.of(path, info, is_utf8=is_utf8)
        if is_unchanged(request.headers, info):
            return _not_modified(headers)
        return web.Response(headers=headers | {"Content-Length": str(info.size)})


class Files(Serving):
    """The handlers over *service*. *upload_timeout*: seconds for the body of an upload."""

    def __init__(self, service: FileService, headers: FileHeaders, *, upload_timeout: float):
        super().__init__(service, headers)
        self._upload_timeout = upload_timeout

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/files", self.post, expect_handler=leave_expectation),
            web.get("/file", self.get, allow_head=False),
            web.head("/file", self.head),
            web.put("/file", self.put, expect_handler=leave_expectation),
            web.delete("/file", self.delete),
        ]

    async def put(self, request: web.Request) -> web.Response:
        return updated(*await self._store(request))

    async def post(self, request: web.Request) -> web.Response:
        return created(*await self._store(request))

    async def delete(self, request: web.Request) -> web.Response:
        path = path_argument(request)
        await self._service.delete(path, write_precondition(request.headers))
        return web.Response(status=204)

    async def _store(self, request: web.Request) -> tuple[str, FileInfo]:
        # All that can be wrong without the body is looked at before it is read.
        path = check_path(path_argument(request))
        precondition = write_precondition(request.headers)
        limit = self._service.max_file_size
        if (signed := request.get(LIMIT)) is not None:
            limit = min(limit, signed)
        size = expected_size(request, limit)
        async with self._service.admission.room(size, upload=True):
            content = await read_upload(request, limit=limit, timeout=self._upload_timeout)
            return path, await self._service.put(path, content, precondition)


def _not_modified(headers: Mapping[str, str]) -> web.Response:
    # RFC 9110 15.4.5: what a cache may need; the rest it has.
    kept = {name: headers[name] for name in ("ETag", "Cache-Control") if name in headers}
    return web.Response(status=304, headers=kept)


def updated(path: str, info: FileInfo) -> web.Response:
    """The answer to a PUT that has happened."""
    return _written(200, path, info)


def created(path: str, info: FileInfo) -> web.Response:
    """The answer to a POST that has happened."""
    response = _written(201, path, info)
    response.headers["Location"] = "/file?path=" + quote(path, safe="/")
    return response


def _written(status: int, path: str, info: FileInfo) -> web.Response:
    document = {"path": path, "size": info.size, "etag": info.etag}
    return web.Response(
        status=status,
        text=json.dumps(document, ensure_ascii=False) + "\n",
        content_type="application/json",
        headers={"ETag": f'"{info.etag}"'},
    )
