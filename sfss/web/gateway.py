"""A gateway, or a server with a store of its own, as it looks from outside."""

from sfss.credentials import Credentials
from sfss.panel import Panel
from sfss.service import FileService
from sfss.settings import Settings
from sfss.web.api import Api
from sfss.web.cors import ApiHeaders, Cors
from sfss.web.doors import OPEN, Doors
from sfss.web.files import Files
from sfss.web.openapi import documented_headers
from sfss.web.page import Page
from sfss.web.server import WebServer
from sfss.web.serving import FileHeaders
from sfss.web.status import Status


_OF_FILES = (("/file", "GET"), ("/file", "PUT"), ("/files", "POST"), ("/file", "DELETE"))


def make_server(
    service: FileService,
    settings: Settings,
    credentials: Credentials = Credentials(),
    panel: Panel | None = None,
) -> WebServer:
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
    others = Status(service, panel).routes()
    if settings.page:
        page = Page(
            service,
            panel,
            uploads=settings.page_uploads,
            warnings=lambda: doors.warnings,
        )
        others += page.routes()
    operations = files.operations
    found = {key: (make, key[0]) for key, make in operations.items()}
    api = Api(
        find=lambda request: found.get((request.path, request.method)),
        file_routes=[(path, method, make) for (path, method), make in operations.items()],
        other_routes=others,
        of_files=_OF_FILES,
        upload_timeout=settings.upload_timeout,
    )
    return WebServer(api, service, settings, doors, cors, panel)
