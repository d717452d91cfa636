"""A node as it looks from outside: files at their own URLs, and what nodes say to each other.

    PUT /name  GET /name  HEAD /name  DELETE /name
    GET /_status  /metrics  /healthz  /readyz  /_page/    POST /_replication  /_verify
"""

import json
import re
from urllib.parse import quote

from aiohttp import web

from sfss.credentials import Credentials
from sfss.errors import Forbidden, InvalidPath, InvalidRequest, NotAGateway, NotFound
from sfss.node_settings import NodeSettings
from sfss.panel import Panel
from sfss.paths import PLAIN_IN_A_URL, check_path
from sfss.replication.changes import BadMessage
from sfss.replication.names import is_reserved
from sfss.replication.node import Node, NodeFileInfo, hashed
from sfss.replication.transport import MEDIA_TYPE, MESSAGE_ROOM, RESOURCE
from sfss.service import FileService
from sfss.web.arguments import argument, percent_decoded
from sfss.web.conditional import write_precondition
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.doors import CLAIM, Doors
from sfss.web.fastpath import NODE_RESOURCE, PlainRequest, plain_node_request
from sfss.web.files import Serving
from sfss.web.page import Page
from sfss.web.server import Runner, Surface, assemble
from sfss.web.serving import FileHeaders
from sfss.web.status import Status, fresh
from sfss.web.uploads import expected_size, leave_expectation, read_upload

_PAGE = "/_page"
#: A generated name never changes its content: caches may keep it for a year, and need not ask again. (Not
#: ``public``: that would let shared caches keep what needs a token. For the rest it is so without saying.)
IMMUTABLE = "max-age=31536000, immutable"
#: The headers of this API (docs in README.rst, "Nodes").
HEADERS = ApiHeaders(
    request=frozenset(
        ("Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Range")
        + ("X-Content-SHA1", "X-Request-ID")
    ),
    answer=frozenset(
        ("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Last-Modified", "Location")
        + ("Retry-After", "X-Content-SHA1", "X-Request-ID")
    ),
)
_MESSAGE_TIMEOUT = 120.0  # seconds

_SHA1 = re.compile("[0-9a-f]{40}")
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def path_of(request: web.BaseRequest) -> str:
    """The file that the URL of *request* names, decoded once. :raises InvalidPath:"""
    target = request.raw_path
    if "#" in target:  # RFC 9112 3.2: no part of a request; never cut off silently
        raise InvalidPath("The URL contains a '#'; in a name it is written %23.")
    if not target.startswith("/"):  # RFC 9112 3.2.2: absolute-form, as proxies are asked
        target = "/" + target.partition("://")[2].partition("/")[2]
    raw = target.partition("?")[0].removeprefix("/")
    path = check_path(percent_decoded(raw, "URL"))
    if is_reserved(path):
        raise InvalidPath(f"The name {path!r} is the node's own; choose another one.")
    return path


class NodeFiles(Serving):
    """The files of *node*, which stands behind *service*."""

    def __init__(
        self, node: Node, service: FileService, headers: FileHeaders, settings: NodeSettings
    ):
        super().__init__(service, headers)
        self._node = node
        self._timeout = settings.upload_timeout
        self._immutable = node.options.immutable
        self._url = settings.url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        name = r"/{path:[\s\S]*}"  # a newline, too: it gets its 400
        return [
            web.get(name, self.get, allow_head=False),
            web.head(name, self.head),
            web.put(name, self.put, expect_handler=leave_expectation),
            web.delete(name, self.delete),
        ]

    def path_of(self, request: web.Request) -> str:
        _check_query(request, reading=True)
        return path_of(request)

    async def put(self, request: web.Request) -> web.Response:
        _check_query(request)
        path = path_of(request)
        expected = _expected_sha1(request)
        precondition = None if self._immutable else write_precondition(request.headers)
        limit = self._service.max_file_size
        size = expected_size(request, limit)
        async with self._service.admission.room(size, upload=True):
            content = await read_upload(request, limit=limit, timeout=self._timeout, forms=False)
            digests = await hashed(content)
            if expected not in (None, digests.sha1):
                raise InvalidRequest(
                    f"X-Content-SHA1 is not that of the body, which is {digests.sha1}."
                )
            return self.written(await self._node.put(path, content, precondition, digests=digests))

    def written(self, info: NodeFileInfo) -> web.Response:
        """The answer to a PUT that has happened."""
        if not self._immutable and not info.is_new:
            return web.Response(status=204, headers=_tags(info))
        headers = _tags(info) | {"Location": self._url + "/" + quote(info.path, safe=PLAIN_IN_A_URL)}
        document = {"path": info.path, "size": info.size, "etag": info.etag, "sha1": info.sha1}
        return web.Response(
            status=201 if info.changed else 302,
            text=_ENCODER.encode(document) + "\n",
            content_type="application/json",
            headers=headers,
        )

    async def delete(self, request: web.Request) -> web.Response:
        _check_query(request)
        path = path_of(request)
        precondition = write_precondition(request.headers)
        await self._service.delete(path, precondition)
        return web.Response(status=200 if self._immutable else 204)


class Neighbours:
    """``POST /_replication``, and what an operator has: ``/_status``, ``/_verify``."""

    def __init__(self, node: Node, service: FileService):
        self._node = node
        self._service = service

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(RESOURCE, self.replicate),
            web.get("/_status", self.status),
            web.post("/_verify", self.verify),
        ]

    async def replicate(self, request: web.Request) -> web.Response:
        _check_origin(request)
        if request.content_type != MEDIA_TYPE:  # a browser would have to ask before it sends this
            raise InvalidRequest(f"Content-Type must be {MEDIA_TYPE} here.")
        limit = self._service.max_file_size + MESSAGE_ROOM
        size = expected_size(request, limit)
        async with self._service.admission.room(size, upload=True):
            body = await read_upload(request, limit=limit, timeout=_MESSAGE_TIMEOUT, forms=False)
            claim = request.get(CLAIM)
            if claim is not None:
                claim.check_body(body)
            try:
                answer = await self._node.answer(body)
            except BadMessage as error:
                raise InvalidRequest(str(error)) from error
        response = fresh(answer, MEDIA_TYPE)
        if claim is not None:
            response.headers.update(claim.headers_of_answer(response.status, answer))
        return response

    async def status(self, request: web.Request) -> web.Response:
        return fresh(json.dumps(self._node.status(), indent=2) + "\n", "application/json")

    async def verify(self, request: web.Request) -> web.Response:
        """Begin to read everything again; ``/_status`` tells how far it is."""
        _check_origin(request)
        self._node.verification.start()
        return web.Response(status=202, headers={"Location": "/_status"})


def make_node_runner(
    node: Node,
    service: FileService,
    settings: NodeSettings,
    credentials: Credentials,
    panel: Panel,
) -> Runner:
    """All that serves *node*, which stands behind *service*, over HTTP."""
    cors = Cors(settings.cors_origin, HEADERS)
    # (Not doors.OPEN: that has names which are files here.)
    open_paths = frozenset(("/healthz", "/readyz"))
    if settings.page:
        open_paths |= {"/", f"{_PAGE}/", f"{_PAGE}/page.css", f"{_PAGE}/page.js"}
    doors = Doors(settings, credentials, cors=cors, open_paths=open_paths, nodes_path=RESOURCE)
    default = IMMUTABLE if node.options.immutable else ""
    headers = FileHeaders(
        inline_active=settings.inline_active,
        cache_control=settings.cache_control or default,
        reads_open=lambda: doors.reads_open,
        more=lambda file: {"X-Content-SHA1": file.sha1},
    )
    files = NodeFiles(node, service, headers, settings)
    routes = [*Neighbours(node, service).routes(), *Status(service, panel, "node").routes_of_a_node()]
    if settings.page:
        page = Page(service, panel, uploads=False, warnings=lambda: doors.warnings)
        routes += page.routes(_PAGE)
        routes.append(web.get("/", _to_the_page))
    else:
        routes.append(web.get("/", _nothing))
    routes += files.routes()
    surface = Surface(
        routes,
        _plain_request,
        headers.lines_of,
        lambda request, info: files.written(info),
        tuple((NODE_RESOURCE, method) for method in ("GET", "PUT", "DELETE")),
        RESOURCE,
    )
    return assemble(surface, service, settings, doors, cors, panel)


async def _to_the_page(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": f"{_PAGE[1:]}/"})  # behind any prefix


async def _nothing(request: web.Request) -> web.Response:
    raise NotFound("There is nothing at this URL; files are at /NAME.")


def _plain_request(data: bytes) -> PlainRequest | None:
    request = plain_node_request(data)
    return None if request is None or is_reserved(request.path) else request


def _check_query(request: web.BaseRequest, *, reading: bool = False) -> None:
    """:raises InvalidRequest: if the request has a query: a node knows none, and this may be meant for a gateway.

    One that only reads may have what makes caches ask again (``?v=3``), but not a gateway's arguments.
    """
    query = request.rel_url.raw_query_string
    if not query or (reading and argument(query, "path") is None):
        return
    raise NotAGateway(
        "A node knows no query: the URL of a file is /PATH here, and not /file?path=PATH as at a gateway."
    )


def _check_origin(request: web.BaseRequest) -> None:
    """:raises Forbidden: if a page of some site has sent this: that is not what it is for."""
    if "Origin" in request.headers:
        raise Forbidden("This is not for browsers.")


def _tags(info: NodeFileInfo) -> dict[str, str]:
    return {"ETag": f'"{info.etag}"', "X-Content-SHA1": info.sha1}


def _expected_sha1(request: web.BaseRequest) -> str | None:
    """What the client says that the body's SHA-1 is. :raises InvalidRequest: if it is none."""
    text = request.headers.get("X-Content-SHA1")
    if text is None:
        return None
    digest = text.strip().lower()
    if not _SHA1.fullmatch(digest):
        raise InvalidRequest("X-Content-SHA1 is not a SHA-1: it has 40 hex digits.")
    return digest
