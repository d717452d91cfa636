"""Listings of Swift: which part is asked for, and in which form (plain, JSON, XML)."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sfss.errors import InvalidRequest, PreconditionFailed
from sfss.objects.listings import HasPath, Page
from sfss.objects.models import ContainerInfo, ObjectInfo, Query
from sfss.web.api.object_headers import is_true, xml_attribute, xml_text
from sfss.web.api.swift_headers import listed_time
from sfss.web.query import argument

MOST = 10_000
_FORMS = {"plain": "text/plain", "json": "application/json", "xml": "application/xml"}
#: What ``Accept`` may ask for; the first that it names counts.
_ACCEPTED = {
    "text/plain": "plain",
    "application/json": "json",
    "application/xml": "xml",
    "text/xml": "xml",
}

T = TypeVar("T", bound=HasPath)
#: What stands in a listing of one thing.
Document = Mapping[str, Any]


def query_of(text: str) -> Query:
    """What the query string asks for. :raises InvalidRequest: :raises PreconditionFailed:"""

    def given(name: str) -> str:
        value = argument(text, name) or ""
        if "\0" in value:
            raise InvalidRequest(f"The argument {name!r} has a null character in it.")
        return value

    limit = given("limit")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10):
        limit = ""  # as with Swift
    if limit and int(limit) > MOST:
        raise PreconditionFailed(f"The argument 'limit' is at most {MOST}.")
    prefix, delimiter = given("prefix"), given("delimiter")
    folder = argument(text, "path")
    if folder is not None:  # an older way to say both; folders themselves are not in it
        prefix, delimiter = (f"{folder.rstrip('/')}/" if folder else ""), "/"
    return Query(
        int(limit) if limit else MOST,
        prefix,
        delimiter,
        given("marker"),
        given("end_marker"),
        is_true(given("reverse")),
    )


def form_of(query: str, accept: str) -> str:
    """``plain``, ``json`` or ``xml``."""
    wanted = argument(query, "format")
    if wanted is not None:
        return wanted if wanted in _FORMS else "plain"
    for part in accept.split(","):
        if form := _ACCEPTED.get(part.partition(";")[0].strip().lower()):
            return form
    return "plain"


def containers_listed(page: Page[ContainerInfo], query: Query, form: str, account: str) -> tuple[bytes, str]:
    """The body, and its type."""
    entries = _entries(page, query, _container)
    return _written(entries, form, "account", account, "container")


def objects_listed(page: Page[ObjectInfo], query: Query, form: str, container: str) -> tuple[bytes, str]:
    return _written(_entries(page, query, _object), form, "container", container, "object")


def _container(info: ContainerInfo) -> Document:
    return {
        "name": info.path,
        "count": info.objects,
        "bytes": info.bytes,
        "last_modified": listed_time(info.modified),
    }


def _object(info: ObjectInfo) -> Document:
    return {
        "name": info.path,
        "hash": info.etag,
        "bytes": info.size,
        "content_type": info.content_type,
        "last_modified": listed_time(info.modified),
    }


def _entries(page: Page[T], query: Query, document: Callable[[T], Document]) -> Sequence[Document]:
    """All that is in it, in the order of names."""
    named = [(file.path, document(file)) for file in page.files]
    named += [(folder, {"subdir": folder}) for folder in page.folders]
    return [entry for _, entry in sorted(named, key=lambda each: each[0], reverse=query.reverse)]


def _written(
    entries: Sequence[Document], form: str, whole: str, name: str, element: str
) -> tuple[bytes, str]:
    media_type = f"{_FORMS[form]}; charset=utf-8"
    if form == "json":
        return json.dumps(entries).encode(), media_type
    if form == "plain":
        lines = [entry.get("name") or entry["subdir"] for entry in entries]
        return "".join(f"{line}\n" for line in lines).encode(), media_type
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<{whole} name={xml_attribute(name)}>"]
    for entry in entries:
        if "subdir" in entry:
            folder = entry["subdir"]
            lines.append(f"<subdir name={xml_attribute(folder)}><name>{xml_text(folder)}</name></subdir>")
            continue
        fields = "".join(f"<{key}>{xml_text(str(value))}</{key}>" for key, value in entry.items())
        lines.append(f"<{element}>{fields}</{element}>")
    return "\n".join([*lines, f"</{whole}>"]).encode(), media_type
