"""Objects of Swift's API: their contents, metadata, copies and manifests."""

import json
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote

from sfss.errors import (
    Forbidden,
    InvalidRequest,
    LengthRequired,
    NotFound,
    NotSupported,
)
from sfss.http.messages import Headers, Response
from sfss.objects import manifests
from sfss.objects.contents import Part
from sfss.objects.limits import check_metadata
from sfss.objects.models import IN_PARTS, ObjectInfo
from sfss.objects.service import Conditions, Found, Objects
from sfss.web.api.object_headers import (
    Descriptions,
    conditions_in,
    copied_properties,
    decoded,
    described,
    if_match_in,
    is_open,
    is_private,
    is_true,
    last_modified,
    text_of,
    with_sums,
)
from sfss.web.api.streaming import answer_with
from sfss.web.api.swift_bulk import delete_paths
from sfss.web.api.swift_headers import (
    UNKNOWN_TYPE,
    conditions_of,
    content_type_in,
    etag_in,
    expires_in,
    listed_time,
    manifest_in,
    object_lines,
    object_metadata,
)
from sfss.web.api.swift_request import Asked, answer, document
from sfss.web.api.swift_tempurl import shown
from sfss.web.query import argument

#: A manifest has no more. Bytes.
_MOST_MANIFEST = 2 * 1024 * 1024
_NOT_OF_DELETE = frozenset(("if-none-match", "if-unmodified-since", "if-modified-since"))


class ObjectHandlers:
    """Of *objects*."""

    def __init__(self, objects: Objects):
        self._objects = objects
        self._catalog = objects.catalog
        self._descriptions = Descriptions(
            lambda found: described(found.info, found.size, found.etag, _lines(found))
        )

    # Writing.

    async def put(self, asked: Asked) -> Response:
        headers, length = asked.headers, asked.body.length
        conditions = await self._conditions(asked, asked.container, asked.name)
        wanted = argument(asked.query, "multipart-manifest")
        if wanted is not None:
            if wanted != "put":
                raise InvalidRequest("A PUT knows no multipart-manifest but put.")
            return await self._put_static(asked, conditions)
        if "x-copy-from" in headers:
            if length:
                raise InvalidRequest("A PUT with X-Copy-From has no body.")
            source = _path_in(headers, "X-Copy-From")
            return await self._copy(asked, source, (asked.container, asked.name), conditions)
        manifest = manifest_in(headers)
        if length is None and "transfer-encoding" not in headers and not manifest:
            raise LengthRequired("A PUT needs a Content-Length, or Transfer-Encoding: chunked.")
        info = await self._objects.put(
            asked.account,
            asked.container,
            asked.name,
            asked.body,
            content_type=content_type_in(headers, asked.name),
            metadata=object_metadata(headers),
            manifest=manifest,
            expires=expires_in(headers),
            etag=etag_in(headers),
            length=length,
            **conditions,
        )
        return _put_answer(info)

    async def _conditions(self, asked: Asked, container: str, name: str) -> Conditions:
        path = (asked.account, container, name)
        return await conditions_in(asked.headers, InvalidRequest, self._objects, path, _etag_of)

    async def _put_static(self, asked: Asked, conditions: Conditions) -> Response:
        body = await asked.body.whole(most=_MOST_MANIFEST)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidRequest("The manifest is not JSON.") from None
        info = await self._objects.put_static(
            asked.account,
            asked.container,
            asked.name,
            document,
            content_type=content_type_in(asked.headers, asked.name),
            metadata=object_metadata(asked.headers),
            expires=expires_in(asked.headers),
            etag=etag_in(asked.headers),
            **conditions,
        )
        return _put_answer(info)

    async def copy(self, asked: Asked) -> Response:
        target = _path_in(asked.headers, "Destination")
        conditions = await self._conditions(asked, *target)
        return await self._copy(asked, (asked.container, asked.name), target, conditions)

    async def _copy(
        self, asked: Asked, source: tuple[str, str], target: tuple[str, str], conditions: Conditions
    ) -> Response:
        if "range" in asked.headers or argument(asked.query, "multipart-manifest") is not None:
            raise NotSupported("Parts of an object, and manifests themselves, are not copied here.")
        for name in ("X-Copy-From-Account", "Destination-Account"):
            if asked.headers.get(name.lower()) not in ("", asked.account_name):
                raise NotSupported("Objects are copied within an account only.")
        headers = asked.headers
        found = await self._objects.find(asked.account, *source)
        is_fresh = is_true(headers.get("x-fresh-metadata"))
        metadata = object_metadata(headers)
        if not is_fresh:
            metadata = {**found.info.metadata, **metadata}
            check_metadata(metadata)
        metadata = with_sums(metadata, found.info.metadata)
        given = text_of(headers, "Content-Type")
        async with self._objects.reading(found, 0, found.size) as pieces:
            info = await self._objects.put(
                asked.account,
                *target,
                pieces,
                content_type=given or found.info.content_type,
                metadata=metadata,
                properties=copied_properties(found.info),
                expires=expires_in(headers),
                length=found.size,
                **conditions,
            )
        response = _put_answer(info)
        response.add("X-Copied-From", quote("/".join(source)))
        response.add("X-Copied-From-Last-Modified", last_modified(found.info.modified))
        return response

    async def post(self, asked: Asked) -> Response:
        if manifest := manifest_in(asked.headers):
            info = await self._catalog.object(asked.account, asked.container, asked.name)
            if info.manifest != manifest:
                raise NotSupported("X-Object-Manifest of an object is not changed here: put it anew.")
        given = "content-type" in asked.headers
        content_type = content_type_in(asked.headers, asked.name) if given else None
        await self._catalog.change_object(
            asked.account,
            asked.container,
            asked.name,
            object_metadata(asked.headers),
            content_type,
            expires_in(asked.headers),
        )
        return answer(202)

    async def delete(self, asked: Asked) -> Response:
        if not _NOT_OF_DELETE.isdisjoint(asked.headers.raw):
            raise NotSupported("Of conditions a DELETE knows If-Match only.")
        if argument(asked.query, "multipart-manifest") == "delete":
            if "if-match" in asked.headers:
                raise NotSupported("A DELETE of a manifest with all that it joins knows no conditions.")
            own = (asked.container, asked.name)
            try:
                info = await self._catalog.object(asked.account, *own)
            except NotFound:
                return await delete_paths(self._objects, asked.account, [own], asked.headers)
            if not manifests.is_static(info.manifest) and info.manifest != IN_PARTS:
                raise InvalidRequest("This is not an object with a static manifest.")
            paths = [*await manifests.paths(self._catalog, asked.account, info), own]
            return await delete_paths(self._objects, asked.account, paths, asked.headers)
        path = (asked.account, asked.container, asked.name)
        must_have = if_match_in(asked.headers)
        if must_have is not None:
            must_have = await self._objects.etag_itself(path, must_have, _etag_of)
        await self._catalog.delete_object(*path, must_have=must_have)
        return answer(204)

    # Reading.

    async def get(self, asked: Asked) -> Response | None:
        if argument(asked.query, "multipart-manifest") == "get":
            info = await self._catalog.object(asked.account, asked.container, asked.name)
            if info.manifest == IN_PARTS:
                raise NotSupported("The parts of an upload by S3 are no objects.")
            if not asked.is_owner:
                self._check_private(asked, [info])
                for container in manifests.containers_of(info.manifest):
                    await self._enter(asked, container)
            if manifests.is_static(info.manifest):
                return _manifest(info, argument(asked.query, "format") == "raw")
            found = Found(info, [Part(info, 0, info.size)], info.size, info.etag)
        else:
            enter = None if asked.is_owner else partial(self._enter, asked)
            found = await self._objects.find(asked.account, asked.container, asked.name, enter=enter)
        if not asked.is_owner:
            infos = (found.info, *found.through, *(part.info for part in found.parts))
            self._check_private(asked, infos)
        headers = conditions_of(asked.headers)
        if asked.opened is None:
            said = self._descriptions.of(found)
        else:
            lines = shown(_lines(found), asked.opened)
            said = described(found.info, found.size, found.etag, lines)
        return await answer_with(asked.exchange, headers, self._objects, found, said)

    def _check_private(self, asked: Asked, infos: Iterable[ObjectInfo]) -> None:
        """It, and what it is made of, is for everybody, or for who has the temporary URL. :raises Forbidden:"""
        if asked.opened is None and any(map(is_private, infos)):
            raise Forbidden("This object, or a part of it, is not for everybody.")

    async def _enter(self, asked: Asked, container: str) -> None:
        """So is a container whose objects it joins. :raises Forbidden:"""
        if asked.opened is not None and asked.opened.container in ("", container):
            return
        if not await is_open(self._catalog, asked.account, container):
            raise Forbidden("A part of this object is not for everybody.")


def _etag_of(found: Found) -> str:
    return found.etag


def _lines(found: Found) -> dict[str, str]:
    """The headers of an answer with its content. (Swift quotes the ETag of what is joined, and no other one.)"""
    is_joined = found.info.manifest != ""
    return dict(object_lines(found.info, f'"{found.etag}"' if is_joined else found.etag))


def _path_in(headers: Headers, name: str) -> tuple[str, str]:
    """The container and the object that a header names. :raises InvalidRequest:"""
    container, _, path = decoded(text_of(headers, name), name).lstrip("/").partition("/")
    if not container or not path:
        raise InvalidRequest(f"{name} has the form CONTAINER/OBJECT.")
    return container, path


def _put_answer(info: ObjectInfo) -> Response:
    etag = f'"{info.etag}"' if manifests.is_static(info.manifest) else info.etag
    return answer(201, {"ETag": etag, "Last-Modified": last_modified(info.modified)})


def _manifest(info: ObjectInfo, is_raw: bool) -> Response:
    """A static manifest itself. *is_raw*: as it is put."""
    entries: list[dict[str, Any]] = []
    for segment in manifests.segments_in(info.manifest):
        of_range = {"range": segment.range} if segment.range else {}
        if is_raw:
            entry = {"path": segment.path, "etag": segment.etag, "size_bytes": segment.size}
        else:
            entry = {
                "name": segment.path,
                "hash": segment.etag,
                "bytes": segment.size,
                "content_type": UNKNOWN_TYPE,
                "last_modified": listed_time(info.modified),
            }
            if segment.is_static:
                entry["sub_slo"] = True
        entries.append(entry | of_range)
    headers = dict(object_lines(info, f'"{info.etag}"'))
    return document(json.dumps(entries), "application/json; charset=utf-8", headers)
