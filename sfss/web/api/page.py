"""The page at ``/``: for people, with nothing that comes from elsewhere.

Its files lie in ``static/``. They tell nothing by themselves; the figures come from
``/page.json``, through the door for reading.
"""

import json
import socket
import time
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from aiohttp import web

from sfss import __version__
from sfss.metrics.aggregate import Aggregate
from sfss.metrics.families import Family, Histogram
from sfss.web.api.page_history import History
from sfss.web.api.status import fresh
from sfss.web.auth import Auth
from sfss.web.query import argument

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/of_files.js": ("of_files.js", "text/javascript"),
    "/files.js": ("files.js", "text/javascript"),
}
#: Where the page is that is not at ``/``, and does not stand in the way of what people keep.
ELSEWHERE = "/_page"


def open_paths(prefix: str = "") -> frozenset[str]:
    """What everybody may see of a page at *prefix*: it tells nothing by itself."""
    return frozenset(prefix + url for url in _FILES)


class Page:
    """*auth* knows who may do what, and what the operator should know of it. *uploads*, *deletes*: whether the page
    offers them; *no_uploads*: why not, if people should know. *lists*: whether it may name files. *signs*: whether
    the server signs URLs. *most*: bytes of a file. *of_files*: their routes in the metrics. *are_objects*: they are
    those of an object service.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        auth: Auth,
        *,
        uploads: bool,
        deletes: bool,
        no_uploads: str = "",
        lists: bool,
        signs: bool = False,
        most: int,
        of_files: Iterable[str],
        are_objects: bool = False,
    ):
        self._aggregate = aggregate
        self._uploads = uploads
        self._deletes = deletes
        self._no_uploads = no_uploads
        self._lists = lists
        self._signs = signs
        self._most = most
        self._auth = auth
        self._routes = sorted(set(of_files))
        self._are_objects = are_objects
        self.history = History(aggregate, self._routes)

    def routes(self, prefix: str = "") -> list[web.RouteDef]:
        """*prefix*: of its URLs; then ``/`` leads there."""
        routes = [
            *(web.get(prefix + url, self.file) for url in _FILES),
            web.get(f"{prefix}/page.json", self.figures),
        ]
        return [*routes, web.get("/", _to_the_page)] if prefix else routes

    async def file(self, request: web.Request) -> web.Response:
        name, content_type = _FILES["/" + request.path.rpartition("/")[2]]
        if name == "of_files.js" and self._are_objects:
            name = "of_objects.js"
        return web.Response(
            text=_text(name),
            content_type=content_type,
            charset="utf-8",
            headers={
                "Content-Security-Policy": _POLICY,
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-cache",
            },
        )

    async def figures(self, request: web.Request) -> web.Response:
        """All figures of now; the page makes rates of two of these. With ``history=1`` the last minutes, too."""
        figures, events = self._aggregate.view()
        answer: dict[str, Any] = {
            "version": __version__,
            "host": socket.gethostname(),
            "time": time.time(),
            "uploads": self._uploads,
            "deletes": self._deletes,
            "no_uploads": self._no_uploads,
            "lists": self._lists,
            "signs": self._signs,
            "file_routes": self._routes,
            "warnings": self._auth.warnings,
            "doors": self._auth.doors,
            "max_file_size": self._most,
            "figures": {
                family.name: [_sample(family, labels, value) for labels, value in family.samples.items()]
                for family in figures.values()
            },
            "events": [event._asdict() for event in events[:50]],
        }
        if argument(request.rel_url.raw_query_string, "history") == "1":
            answer["history"] = self.history.points()
        return fresh(json.dumps(answer), "application/json")


async def _to_the_page(request: web.Request) -> web.Response:
    # (It is relative: behind any prefix.)
    return web.Response(status=302, headers={"Location": f"{ELSEWHERE[1:]}/"})


def _sample(family: Family, labels: tuple[str, ...], value: Histogram | float) -> list[Any]:
    """Labels by name, and the value; of a histogram (amount below which, how many), and the sum."""
    shown: Any = value
    if isinstance(value, Histogram):
        shown = {
            "buckets": [[2**power * family.unit, value.up_to(power)] for power in family.powers],
            "count": value.count,
            "sum": value.total * family.unit,
        }
    return [dict(zip(family.labels, labels)), shown]


@cache
def _text(name: str) -> str:
    return resources.files("sfss.web").joinpath("static", name).read_text("utf-8")
