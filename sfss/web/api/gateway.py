"""A gateway, or a server with a store of its own, as it looks from outside."""

from sfss.config.credentials import Credentials
from sfss.config.gateway import Settings
from sfss.http.messages import Request
from sfss.metrics.aggregate import Aggregate
from sfss.service import FileService
from sfss.web.api.archives import Archives
from sfss.web.api.description import Api
from sfss.web.api.files import Files
from sfss.web.api.listings import Listings
from sfss.web.api.openapi import documented_headers
from sfss.web.api.page import Page, open_paths
from sfss.web.api.signing import Signing
from sfss.web.api.status import Status
from sfss.web.auth import OPEN, Auth
from sfss.web.content_headers import FileHeaders
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.server import WebServer

_OF_FILES = (("/file", "GET"), ("/file", "PUT"), ("/files", "POST"), ("/file", "DELETE"))


def make_server(
    service: FileService,
    settings: Settings,
    credentials: Credentials = Credentials(),
    aggregate: Aggregate | None = None,
) -> WebServer:
    """All that serves *service* over HTTP, put together as *settings* say.

    *aggregate*: where this process's figures meet those of others, if there are others.
    """
    aggregate = aggregate or Aggregate()
    cors = Cors(settings.cors_origin, ApiHeaders(*documented_headers()))
    archives = Archives(service, settings, "/archive")
    signing = Signing(credentials.signing_keys)

    def is_reading(request: Request) -> bool:
        return archives.is_reading(request) or signing.is_reading(request)

    auth = Auth(settings, credentials, cors=cors, open_paths=OPEN | open_paths(), is_reading=is_reading)
    headers = FileHeaders(
        inline_active=settings.inline_active,
        gzip_texts=settings.gzip_texts,
        cache_control=settings.cache_control,
        reads_open=lambda: auth.reads_open,
    )
    files = Files(service, headers, upload_timeout=settings.upload_timeout)
    others = [
        *Status(service, aggregate).routes(),
        *Listings(service, settings).routes("/files"),
        *signing.routes(),
    ]
    if settings.page:
        page = Page(
            aggregate,
            auth,
            uploads=settings.page_uploads,
            deletes=settings.page_uploads,
            lists=settings.listing and service.lists,
            signs=signing.is_open,
            most=service.max_file_size,
            of_files=(route for route, _ in _OF_FILES),
        )
        others += page.routes()
    api = Api(
        find=lambda request: files.find(request) or archives.find(request),
        file_routes=files.routes(),
        other_routes=others,
        of_files=_OF_FILES,
        upload_timeout=settings.upload_timeout,
    )
    server = WebServer(api, service, settings, auth, cors, aggregate)
    if settings.page:
        server.app.cleanup_ctx.append(page.history.running)
    return server
