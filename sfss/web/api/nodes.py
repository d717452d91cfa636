"""A node as it looks from outside: files at their own URLs, and what nodes say to each other.

PUT /name  GET /name  HEAD /name  DELETE /name
GET /_files  /_archive  /_status  /metrics  /healthz  /readyz  /_page/    POST /_archive  /_replication  /_verify
"""

import dataclasses
import json
import re
from urllib.parse import quote

from aiohttp import web

from sfss.config.credentials import Credentials
from sfss.config.node import NodeSettings
from sfss.errors import Forbidden, InvalidPath, InvalidRequest, NotAGateway, NotFound
from sfss.http.messages import Request, Response, header_lines
from sfss.metrics.aggregate import Aggregate
from sfss.models import FileInfo, Precondition, StoredFile
from sfss.paths import PLAIN_IN_A_URL, check_path
from sfss.replication.changes import BadMessage
from sfss.replication.names import is_reserved
from sfss.replication.node import Node, PutFile
from sfss.replication.transport import MEDIA_TYPE, MESSAGE_ROOM, RESOURCE
from sfss.service import FileService
from sfss.web.api.archives import Archives
from sfss.web.api.description import Api
from sfss.web.api.listings import Listings
from sfss.web.api.page import ELSEWHERE, Page, open_paths
from sfss.web.api.status import Status, fresh, fresh_response
from sfss.web.auth import Auth
from sfss.web.conditional import write_precondition
from sfss.web.content_headers import FileHeaders
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.forms import parameters_of
from sfss.web.operations import Delete, Get, MakeOperation, Operation, Put, Write, head
from sfss.web.query import argument, percent_decoded
from sfss.web.server import WebServer
from sfss.web.uploads import upload_of

_NO_UPLOADS = (
    "This node gives each file a name of its own (--names generated), so there are no uploads on this page."
)
#: A generated name never changes its content: caches may keep it for a year, and need not ask again. (Not
#: ``public``: that would let shared caches keep what needs a token. For the rest it is so without saying.)
IMMUTABLE = "max-age=31536000, immutable"
#: The headers of this API (docs/nodes.rst).
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

_SHA1 = re.compile("[0-9a-f]{40}")
_encode = json.JSONEncoder(ensure_ascii=False).encode
#: Of files, in the metrics.
_ROUTE = "/{path}"
_OF_FILES = tuple((_ROUTE, method) for method in ("GET", "PUT", "DELETE"))
#: URLs that are no files, and that the application answers.
_OTHERS = frozenset(
    ("/", "/metrics", "/healthz", "/readyz", "/_status", "/_verify", "/_files", "/_archive", "/_page")
)


def path_of(request: Request) -> str:
    """The file that the URL of *request* names, decoded once. :raises InvalidPath:"""
    if "#" in request.target:  # RFC 9112 3.2: no part of a request; never cut off silently
        raise InvalidPath("The URL contains a '#'; in a name it is written %23.")
    return check_name(percent_decoded(request.path[1:], "URL"))


def check_name(path: str) -> str:
    """*path*, if files can have it. :raises InvalidPath:"""
    check_path(path)
    if is_reserved(path):
        raise InvalidPath(f"The name {path!r} is the node's own; choose another one.")
    return path


class Message(Write):
    """``POST /_replication``: what another node has to say, and the answer."""

    __slots__ = ("_node",)

    def __init__(self, request: Request, node: Node, service: FileService):
        Write.__init__(self, request, service.room_of_peers())
        self._node = node
        limit = service.max_file_size + MESSAGE_ROOM
        if "origin" in request.headers:
            raise Forbidden("This is not for browsers.")
        # A browser would have to ask before it sends this.
        if parameters_of(request.headers.get("content-type"))[0] != MEDIA_TYPE:
            raise InvalidRequest(f"Content-Type must be {MEDIA_TYPE} here.")
        self.upload = upload_of(request, limit, forms=False)

    def begin(self) -> bool:
        return False

    async def run(self) -> Response:
        claim = self.request.claim
        if claim is not None:
            claim.check_body(self.content)
        try:
            answer = await self._node.answer(self.content)
        except BadMessage as error:
            raise InvalidRequest(str(error)) from error
        response = fresh_response(answer, MEDIA_TYPE)
        if claim is not None:
            response.lines += header_lines(claim.headers_of_answer(response.status, answer))
        return response


class NodeFiles:
    """The files of *node*, which stands behind *service*, and the messages of other nodes."""

    def __init__(self, node: Node, service: FileService, headers: FileHeaders, settings: NodeSettings):
        self._node = node
        self._service = service
        self._headers = headers
        self._immutable = node.settings.immutable
        self._url = settings.url.rstrip("/")
        self._operations = {
            "GET": (self.get, _ROUTE),
            "HEAD": (self.head, _ROUTE),
            "PUT": (self.put, _ROUTE),
            "DELETE": (self.delete, _ROUTE),
        }
        self._message = (self.message, RESOURCE)

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        path = request.path
        if path == RESOURCE and request.method == "POST":
            return self._message
        if path in _OTHERS or path.startswith("/_page/"):
            return None
        return self._operations.get(request.method)

    def routes(self) -> list[tuple[str, str, MakeOperation]]:
        name = r"/{path:[\s\S]*}"  # a newline, too: it gets its 400
        return [
            (RESOURCE, "POST", self.message),
            *((name, method, make) for method, (make, _) in self._operations.items()),
        ]

    def get(self, request: Request) -> Operation:
        return Get(request, self._path_to_read(request), self._service, self._headers)

    def head(self, request: Request) -> Operation:
        return head(request, self._path_to_read(request), self._service, self._headers)

    def put(self, request: Request) -> Operation:
        _check_query(request)
        path = path_of(request)
        expected = _expected_sha1(request)
        precondition = None if self._immutable else write_precondition(request.headers)
        if expected is not None:
            precondition = dataclasses.replace(precondition or Precondition(), sha1=expected)
        upload = upload_of(request, self._service.max_file_size, forms=False)
        return Put(request, path, self._service, precondition, upload, self.written)

    def delete(self, request: Request) -> Operation:
        _check_query(request)
        path = path_of(request)
        precondition = write_precondition(request.headers)
        return Delete(request, path, self._service, precondition, 200 if self._immutable else 204)

    def message(self, request: Request) -> Operation:
        return Message(request, self._node, self._service)

    def written(self, path: str, info: PutFile) -> Response:
        """The answer to a PUT that has happened."""
        tags = f'ETag: "{info.etag}"\r\nX-Content-SHA1: {info.sha1}\r\n'
        if not self._immutable and not info.is_new:
            return Response(204, tags)
        location = self._url + "/" + quote(info.path, safe=PLAIN_IN_A_URL)
        document = (
            f'{{"path": {_encode(info.path)}, "size": {info.size}, "etag": "{info.etag}", '
            f'"sha1": "{info.sha1}"}}\n'
        )
        lines = f"{tags}Location: {location}\r\nContent-Type: application/json; charset=utf-8\r\n"
        return Response(201 if info.changed else 302, lines, document.encode())

    def _path_to_read(self, request: Request) -> str:
        _check_query(request, reading=True)
        return path_of(request)


class Operating:
    """What an operator has: ``/_status``, ``/_verify``."""

    def __init__(self, node: Node):
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/_status", self.status), web.post("/_verify", self.verify)]

    async def status(self, request: web.Request) -> web.Response:
        return fresh(json.dumps(self._node.status(), indent=2) + "\n", "application/json")

    async def verify(self, request: web.Request) -> web.Response:
        """Begin to read everything again; ``/_status`` tells how far it is."""
        if "Origin" in request.headers:
            raise Forbidden("This is not for browsers.")
        if self._node.is_open:
            self._node.scrub.start()
        return web.Response(status=202, headers={"Location": "/_status"})


def make_node_server(
    node: Node,
    service: FileService,
    settings: NodeSettings,
    credentials: Credentials,
    aggregate: Aggregate,
) -> WebServer:
    """All that serves *node*, which stands behind *service*, over HTTP."""
    cors = Cors(settings.cors_origin, HEADERS)
    # (Not doors.OPEN: that has names which are files here.)
    are_open = frozenset(("/healthz", "/readyz"))
    if settings.page:
        are_open |= {"/", *open_paths(ELSEWHERE)}
    archives = Archives(service, settings, "/_archive", check_name)
    auth = Auth(
        settings,
        credentials,
        cors=cors,
        open_paths=are_open,
        nodes_path=RESOURCE,
        is_reading=archives.is_reading,
    )
    default = IMMUTABLE if node.settings.immutable else ""
    headers = FileHeaders(
        inline_active=settings.inline_active,
        gzip_texts=settings.gzip_texts,
        cache_control=settings.cache_control or default,
        reads_open=lambda: auth.reads_open,
        more=_sha1_line,
    )
    files = NodeFiles(node, service, headers, settings)
    others = [
        *Operating(node).routes(),
        *Listings(service, settings).routes("/_files"),
        *Status(service, aggregate, "node").routes_of_a_node(),
    ]
    if settings.page:
        # (The page asks for names, and this node gives its own.)
        names = node.settings.immutable
        page = Page(
            aggregate,
            auth,
            uploads=settings.page_uploads and not names,
            deletes=settings.page_uploads,
            no_uploads=_NO_UPLOADS if settings.page_uploads and names else "",
            lists=settings.listing and service.lists,
            most=service.max_file_size,
            of_files=(route for route, _ in _OF_FILES),
        )
        others += page.routes(ELSEWHERE)
    else:
        others.append(web.get("/", _nothing))
    api = Api(
        find=lambda request: archives.find(request) or files.find(request),
        file_routes=files.routes(),
        other_routes=others,
        of_files=_OF_FILES,
        upload_timeout=settings.upload_timeout,
        nodes_path=RESOURCE,
    )
    server = WebServer(api, service, settings, auth, cors, aggregate)
    if settings.page:
        server.app.cleanup_ctx.append(page.history.running)
    return server


def _sha1_line(file: StoredFile | FileInfo) -> str:
    return f"X-Content-SHA1: {file.sha1}\r\n"


async def _nothing(request: web.Request) -> web.Response:
    raise NotFound("There is nothing at this URL; files are at /NAME.")


def _check_query(request: Request, *, reading: bool = False) -> None:
    """:raises InvalidRequest: if the request has a query: a node knows none, and this may be meant for a gateway.

    One that only reads may have what makes caches ask again (``?v=3``), but not a gateway's arguments.
    """
    query = request.query
    if not query or (reading and argument(query, "path") is None):
        return
    raise NotAGateway(
        "A node knows no query: the URL of a file is /PATH here, and not /file?path=PATH as at a gateway."
    )


def _expected_sha1(request: Request) -> str | None:
    """What the client says that the body's SHA-1 is. :raises InvalidRequest: if it is none."""
    if "x-content-sha1" not in request.headers:
        return None
    digest = request.headers.get("x-content-sha1").lower()
    if not _SHA1.fullmatch(digest):
        raise InvalidRequest("X-Content-SHA1 is not a SHA-1: it has 40 hex digits.")
    return digest
