"""A gateway, or a server with a store of its own, as it looks from outside."""

from aiohttp import web

from sfss.credentials import Credentials
from sfss.models import FileInfo
from sfss.panel import Panel
from sfss.service import FileService
from sfss.settings import Settings
from sfss.web.doors import OPEN
from sfss.web.fastpath import PlainRequest, plain_request
from sfss.web.files import Files, created, updated
from sfss.web.page import Page
from sfss.web.server import Runner, Surface, assemble
from sfss.web.status import Status


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
    files = Files(
        service, upload_timeout=settings.upload_timeout, inline_active=settings.inline_active
    )
    routes = [*files.routes(), *Status(service, panel).routes()]
    if settings.page:
        routes += Page(service, panel, uploads=settings.page_uploads).routes()
    surface = Surface(routes, OPEN, plain_request, lambda file: "", _written)
    return assemble(surface, service, settings, credentials, panel)


def _written(request: PlainRequest, info: FileInfo) -> web.Response:
    made = created if request.method == "POST" else updated
    return made(request.path, info)
