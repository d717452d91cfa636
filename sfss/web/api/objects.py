"""An object service as it looks from outside: the APIs of Swift and S3, and what every server has."""

from aiohttp import web

from sfss.config.objects import ObjectSettings
from sfss.http.messages import Request
from sfss.metrics.aggregate import Aggregate
from sfss.objects.limits import MAX_OBJECT_SIZE
from sfss.objects.service import Objects
from sfss.objects.users import Users
from sfss.web.api.description import Api
from sfss.web.api.own_url import OwnUrl
from sfss.web.api.page import ELSEWHERE, Page
from sfss.web.api.s3 import ROUTE as S3_ROUTE
from sfss.web.api.s3 import S3
from sfss.web.api.s3_presigning import Presigning
from sfss.web.api.status import Status
from sfss.web.api.swift import OBJECT, Swift
from sfss.web.api.swift_identity import Identity
from sfss.web.auth import Auth
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.operations import MakeOperation
from sfss.web.server import WebServer

_HEADERS = ApiHeaders(
    request=frozenset(
        ("Content-Type", "ETag", "If-Match", "If-None-Match", "Range", "X-Auth-Token", "X-Object-Manifest")
    ),
    answer=frozenset(
        ("Accept-Ranges", "Content-Range", "ETag", "Last-Modified", "X-Timestamp", "X-Request-ID")
        + ("X-Container-Object-Count", "X-Container-Bytes-Used", "X-Object-Manifest")
    ),
)


def make_objects_server(objects: Objects, settings: ObjectSettings, aggregate: Aggregate) -> WebServer:
    """All that serves *objects* over HTTP."""
    cors = Cors(settings.cors_origin, _HEADERS)
    # Who may do what is said by tokens of its own. This one looks at hosts, networks and origins.
    # Pages of other sites need what no browser adds by itself, too.
    auth = Auth(settings, cors=cors, check_origins=False)
    users = Users(objects.catalog)
    url = OwnUrl(settings.url, settings.ssl)
    identity = Identity(objects.catalog, users, url, lifetime=settings.token_lifetime)
    swift = Swift(objects, users, identity, auth, body_timeout=settings.upload_timeout)
    s3 = S3(objects, users, cors, url, domain=settings.s3_domain, body_timeout=settings.upload_timeout)
    status = Status(objects.service, aggregate, "objects")

    presigning = Presigning(identity)

    def find(request: Request) -> tuple[MakeOperation, str] | None:
        if request.method == "OPTIONS" and cors.preflight(request) is not None:
            return None  # the application says so
        found = s3.find(request) or swift.find(request)
        if found is None and settings.page:
            found = presigning.find(request)
            if found is None and request.path == "/" and "text/html" in request.headers.get("accept"):
                return None  # a person: the page is elsewhere
        found = found or identity.find(request)
        return found or (None if request.path in own_paths else s3.find_unsigned(request))

    routes = list(status.routes_of_a_node())
    if settings.page:
        page = Page(
            aggregate,
            auth,
            uploads=settings.page_uploads,
            deletes=settings.page_uploads,
            lists=True,
            signs=True,
            most=MAX_OBJECT_SIZE,
            of_files=(OBJECT, S3_ROUTE),
            are_objects=True,
        )
        routes += page.routes(ELSEWHERE)
    own_paths = frozenset(route.path for route in routes)
    api = Api(
        find=find,
        file_routes=(),
        other_routes=routes,
        of_files=(),
        upload_timeout=settings.upload_timeout,
    )
    server = WebServer(api, objects.service, settings, auth, cors, aggregate)

    async def start(app: web.Application) -> None:
        await identity.start()

    server.app.on_startup.append(start)
    if settings.page:
        server.app.cleanup_ctx.append(page.history.running)
    return server
