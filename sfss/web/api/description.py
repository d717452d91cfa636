"""What a server looks like from outside: which requests are about files, and what answers the others."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from aiohttp import web

from sfss.http.messages import Request
from sfss.web.operations import MakeOperation


class Api(NamedTuple):
    #: What answers *request*, and the route that it has in the metrics; None: it is none of these.
    find: Callable[[Request], tuple[MakeOperation, str] | None]
    #: The same as routes of aiohttp: of any path that matches, each with its method.
    file_routes: Iterable[tuple[str, str, MakeOperation]]
    other_routes: list[web.RouteDef]  #: what the application answers beside; it is looked at first
    of_files: tuple[tuple[str, str], ...]  #: the routes of files in the metrics, each with its method
    upload_timeout: float  #: seconds for the body of an upload
    nodes_path: str | None = None  #: where other nodes send to
