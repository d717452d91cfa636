"""``GET /files`` (of a node: ``GET /_files``): which files there are."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sfss.config.server import ServerSettings
from sfss.errors import Forbidden, InvalidRequest
from sfss.service import FileService, Listed
from sfss.web.api.status import fresh
from sfss.web.query import argument

#: So many files are in an answer, if it is not said, and at the most.
MOST = 1000
_MOST_CHARACTERS = 1024
_json = json.JSONEncoder(ensure_ascii=False).encode


class Listings:
    """Of the files of *service*, unless *settings* say no."""

    def __init__(self, service: FileService, settings: ServerSettings):
        self._service = service
        self._is_open = settings.listing

    def routes(self, path: str) -> list[web.RouteDef]:
        return [web.get(path, self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """``prefix``, ``delimiter``, ``after`` (what the last answer had as ``next``), ``limit``."""
        if not self._is_open:
            raise Forbidden("Listings are closed on this server (--no-listing).")
        query = request.rel_url.raw_query_string
        prefix, delimiter, after = (text_argument(query, name) for name in ("prefix", "delimiter", "after"))
        limit = number_argument(query, "limit", least=1, most=MOST)
        limit = MOST if limit is None else limit
        listing = await self._service.list_files(prefix, after, limit, delimiter)
        more: dict[str, Any] = {"folders": list(listing.folders)} if delimiter else {}
        more |= {"next": listing.cursor, "ordered": self._service.lists_in_order}
        if listing.unnamed:
            more["unnamed"] = listing.unnamed
        files = ", ".join([_document(file) for file in listing.files])
        answer = f'{{"files": [{files}], {_json(more)[1:]}\n'
        return fresh(answer, "application/json; charset=utf-8")


def text_argument(query: str, name: str) -> str:
    """It, "" if it is not there. :raises InvalidRequest:"""
    value = argument(query, name) or ""
    if len(value) > _MOST_CHARACTERS:
        raise InvalidRequest(f"The argument {name!r} is longer than any path.")
    if "\0" in value:
        raise InvalidRequest(f"The argument {name!r} has a null character in it.")
    return value


def number_argument(query: str, name: str, *, least: int, most: int) -> int | None:
    """It, None if it is not there. :raises InvalidRequest:"""
    text = argument(query, name)
    if text is None:
        return None
    is_number = re.fullmatch("[0-9]+", text) and len(text) <= len(str(most))
    if not (is_number and least <= int(text) <= most):
        raise InvalidRequest(f"The argument {name!r} is a number from {least} to {most}.")
    return int(text)


def _document(file: Listed) -> str:
    """What the store knows of it, as JSON. (A thousand of them made of dictionaries take twice as long.)"""
    path, size, etag, modified, sha256 = file
    text = f'{{"path": {_json(path)}'
    if size is not None:
        text += f', "size": {size}'
    if etag is not None:
        text += f', "etag": {_json(etag)}'
    if sha256 is not None:
        text += f', "sha256": {_json(sha256)}'
    if modified is not None:
        when = datetime.fromtimestamp(modified, UTC)
        text += f', "modified": "{when.isoformat(timespec="milliseconds").replace("+00:00", "Z")}"'
    return text + "}"
