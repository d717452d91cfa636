"""A gateway, or a server with a store of its own, as it looks from outside."""

from aiohttp import web

from sfss.credentials import Credentials
from sfss.models import FileInfo
from sfss.panel import Panel
from sfss.service import FileService
from sfss.settings import Settings
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.doors import OPEN, Doors
from sfss.web.fastpath import PlainRequest, plain_request
from sfss.web.files import Files, created, updated
from sfss.web.openapi import documented_headers
from sfss.web.page import Page
from sfss.web.server import Runner, Surface, assemble
from sfss.web.serving import FileHeaders
from sfss.web.status import Status


_OF_FILES = (("/file", "GET"), ("/file", "PUT"), ("/files", "POST"), ("/file", "DELETE"))


def make_runner(
    service: FileService,
    settings: Settings,
    credentials: Credentials = Credentials(),
    panel: Panel | None = None,
) -> Runner:
    """All that serves *service* over HTTP, put together as *settings* say.

    *panel*: where this process's figures meet those of others, if there are others.
    """
    panel = panel or Panel()
    cors = Cors(settings.cors_origin, ApiHeaders(*documented_headers()))
    doors = Doors(settings, credentials, cors=cors, open_paths=OPEN)
    headers = FileHeaders(
        inline_active=settings.inline_active,
        cache_control=settings.cache_control,
        reads_open=lambda: doors.reads_open,
    )
    files = Files(service, headers, upload_timeout=settings.upload_timeout)
    routes = [*files.routes(), *Status(service, panel).routes()]
    if settings.page:
        page = Page(
            service,
            panel,
            uploads=settings.page_uploads,
            warnings=lambda: doors.warnings,
        )
        routes += page.routes()
    surface = Surface(routes, plain_request, headers.lines_of, _written, _OF_FILES)
    return assemble(surface, service, settings, doors, cors, panel)


def _written(request: PlainRequest, info: FileInfo) -> web.Response:
    made = created if request.method == "POST" else updated
    return made(request.path, info)
