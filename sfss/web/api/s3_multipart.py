"""Uploads in parts: begun, filled, listed, completed, aborted."""

import hashlib
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from sfss.errors import InvalidRequest, NoSuchUpload, NotFound
from sfss.http.messages import Headers, Response
from sfss.objects.clock import now_us
from sfss.objects.models import IN_PARTS, ObjectInfo, Query, Upload, UploadedPart
from sfss.objects.service import Objects
from sfss.web.api.own_url import OwnUrl
from sfss.web.api.s3_acl import owner_of
from sfss.web.api.s3_body import Body, body_of, copied, document_of
from sfss.web.api.s3_checksums import (
    CHECKSUMS,
    ELEMENTS,
    TYPE,
    OfUpload,
    check_known,
    elements_of,
    sums_in,
    type_of,
    without,
)
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_listing import writing_of
from sfss.web.api.s3_objects import (
    check_source,
    check_storage_class,
    content_type_in,
    metadata_in,
    properties_in,
    source_in,
)
from sfss.web.api.s3_request import MOST_PARTS, S3Request, answer, xml_answer
from sfss.web.api.s3_versions import headers_of, write_conditions
from sfss.web.api.s3_xml import Element, children, document, read, text_in, time_text

#: Of each part but the last, bytes.
_LEAST = 5 * 1024 * 1024
_MOST_LISTED = 1000


class MultipartHandlers:
    def __init__(self, objects: Objects, url: OwnUrl):
        self._url = url
        self._objects = objects
        self._catalog = objects.catalog

    async def begin(self, asked: S3Request) -> Response:
        check_storage_class(asked.headers)
        checksum = OfUpload.asked(asked.headers)
        upload = Upload(
            secrets.token_hex(24),
            asked.key,
            content_type_in(asked.headers),
            metadata_in(asked.headers),
            now_us(),
            {**properties_in(asked.headers), **checksum.properties},
        )
        await self._catalog.begin_upload(asked.account, asked.bucket, upload)
        elements: list[Element] = [("Bucket", asked.bucket), ("Key", asked.key), ("UploadId", upload.id)]
        return xml_answer(document("InitiateMultipartUploadResult", elements), checksum.headers)

    async def put_part(self, asked: S3Request) -> Response:
        number = asked.number("partNumber", MOST_PARTS + 1, 0)
        if not 1 <= number <= MOST_PARTS:
            raise S3Error("InvalidArgument", f"partNumber is 1 to {MOST_PARTS}.")
        upload = await self._upload(asked)
        if "x-amz-copy-source" in asked.headers:
            return await self._copy_part(asked, upload, number)
        checksum = OfUpload.kept(upload.properties)
        checksum.check_part(asked.headers)
        body = body_of(asked, also=checksum.name)
        part = await self._put(upload, number, body, body.length, checksum)
        return answer(200, {"ETag": f'"{part.etag}"', **body.checksums})

    async def _put(
        self, upload: Upload, number: int, body: Body, length: int | None, checksum: OfUpload
    ) -> UploadedPart:
        def made() -> str:
            return body.checksums.get(checksum.name, "")

        return await self._objects.put_part(upload, number, body, length=length, checksum=made)

    async def _copy_part(self, asked: S3Request, upload: Upload, number: int) -> Response:
        headers = asked.headers
        found = await self._objects.find(asked.account, *source_in(headers))
        check_source(headers, found)
        start, stop = _range_of(headers.get("x-amz-copy-source-range").strip(), found.size)
        checksum = OfUpload.kept(upload.properties)
        async with self._objects.reading(found, start, stop) as pieces:
            body = copied(pieces, checksum.name)
            part = await self._put(upload, number, body, stop - start, checksum)
        elements: list[Element] = [("LastModified", time_text(part.modified)), ("ETag", f'"{part.etag}"')]
        elements += _checksum(checksum, part)
        return xml_answer(document("CopyPartResult", elements))

    async def list_parts(self, asked: S3Request) -> Response:
        upload = await self._upload(asked)
        after = asked.number("part-number-marker", MOST_PARTS, 0)
        limit = asked.number("max-parts", _MOST_LISTED, _MOST_LISTED)
        parts = [part for part in await self._catalog.parts(upload.id) if part.number > after]
        shown = parts[:limit]
        elements: list[Element] = [
            ("Bucket", asked.bucket),
            ("Key", asked.key),
            ("UploadId", upload.id),
            owner_of(asked.user, "Initiator"),
            owner_of(asked.user),
            ("StorageClass", "STANDARD"),
            ("PartNumberMarker", after),
            ("NextPartNumberMarker", shown[-1].number if shown else after),
            ("MaxParts", limit),
            ("IsTruncated", len(parts) > limit),
        ]
        checksum = OfUpload.kept(upload.properties)
        if checksum.name:
            elements += [("ChecksumAlgorithm", checksum.algorithm), ("ChecksumType", checksum.type)]
        elements += [
            (
                "Part",
                (
                    ("PartNumber", part.number),
                    ("LastModified", time_text(part.modified)),
                    ("ETag", f'"{part.etag}"'),
                    ("Size", part.size),
                    *_checksum(checksum, part),
                ),
            )
            for part in shown
        ]
        return xml_answer(document("ListPartsResult", elements))

    async def list_uploads(self, asked: S3Request) -> Response:
        if asked.query.get("delimiter"):
            raise S3Error("NotImplemented", "Uploads are not listed with a delimiter here.", 501)
        limit = asked.number("max-uploads", _MOST_LISTED, _MOST_LISTED)
        prefix, marker = asked.query.get("prefix", ""), asked.query.get("key-marker", "")
        encoding, text = writing_of(asked)
        id = asked.query.get("upload-id-marker", "")
        place = f"{marker}\0{id}" if marker and id else marker
        page = await self._catalog.uploads(
            asked.account, asked.bucket, Query(max(limit, 1), prefix, marker=place)
        )
        elements: list[Element] = [
            ("Bucket", asked.bucket),
            ("KeyMarker", text(marker)),
            ("Prefix", text(prefix)),
            ("MaxUploads", limit),
            ("IsTruncated", page.cursor is not None),
            *([("EncodingType", encoding)] if encoding else []),
        ]
        if page.cursor is not None:
            last = page.files[-1]
            elements += [("NextKeyMarker", text(last.path)), ("NextUploadIdMarker", last.id)]
        elements += [
            (
                "Upload",
                (
                    ("Key", text(upload.path)),
                    ("UploadId", upload.id),
                    owner_of(asked.user, "Initiator"),
                    owner_of(asked.user),
                    ("StorageClass", "STANDARD"),
                    ("Initiated", time_text(upload.started)),
                ),
            )
            for upload in page.files[:limit]
        ]
        return xml_answer(document("ListMultipartUploadsResult", elements))

    async def complete(self, asked: S3Request) -> Response:
        root = read(await document_of(asked, has_others=True), "CompleteMultipartUpload")
        named = list(children(root, "Part"))
        try:
            return self._told(asked, await self._complete(asked, named))
        except NoSuchUpload:
            return self._told(asked, await self._completed(asked, named))

    async def _complete(self, asked: S3Request, named: Sequence[ET.Element]) -> ObjectInfo:
        upload = await self._upload(asked)
        checksum = OfUpload.kept(upload.properties)
        there = {str(part.number): part for part in await self._catalog.parts(upload.id)}
        parts = _chosen(named, there, checksum)
        size = sum(part.size for part in parts)
        sums = _sums_of(checksum, parts)
        _check_said(asked.headers, size, sums)
        etag = _etag_of(parts)
        conditions = await write_conditions(self._objects, asked)
        info = ObjectInfo(
            asked.key,
            size,
            etag,
            upload.content_type,
            now_us(),
            upload.id,
            self._objects.piece_size,
            {**upload.metadata, **sums},
            IN_PARTS,
            without(upload.properties),
        )
        version = await self._catalog.complete_upload(
            asked.account,
            asked.bucket,
            info,
            parts,
            **conditions,
        )
        return info._replace(version=version)

    async def _completed(self, asked: S3Request, named: Sequence[ET.Element]) -> ObjectInfo:
        """What has become of it: the answer may not have arrived. :raises NoSuchUpload: if this is not that."""
        id = asked.query["uploadId"]
        try:
            info = await self._catalog.object(asked.account, asked.bucket, asked.key)
        except NotFound:
            raise NoSuchUpload.of(id) from None
        if not id or info.content != id:
            raise NoSuchUpload.of(id)
        there = {str(part.number): part for part in await self._catalog.parts(id)}
        if _etag_of(_chosen(named, there, OfUpload("", ""))) != info.etag:
            raise NoSuchUpload.of(id)
        _check_said(asked.headers, info.size, sums_in(info.metadata))
        return info

    def _told(self, asked: S3Request, info: ObjectInfo) -> Response:
        elements: list[Element] = [
            ("Location", self._url.asked(asked.exchange) + asked.exchange.path),
            ("Bucket", asked.bucket),
            ("Key", asked.key),
            ("ETag", f'"{info.etag}"'),
        ]
        elements += elements_of(info.metadata)
        elements += [("ChecksumType", type_of(value)) for value in sums_in(info.metadata).values()]
        return xml_answer(document("CompleteMultipartUploadResult", elements), headers_of(info, asked))

    async def abort(self, asked: S3Request) -> Response:
        upload = await self._upload(asked)
        await self._catalog.abort_upload(upload.id)
        return answer(204)

    async def _upload(self, asked: S3Request) -> Upload:
        return await self._catalog.upload(asked.account, asked.bucket, asked.key, asked.query["uploadId"])


def _etag_of(parts: Sequence[UploadedPart]) -> str:
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _checksum(checksum: OfUpload, part: UploadedPart) -> list[Element]:
    return [(ELEMENTS[checksum.name], part.checksum)] if part.checksum else []


def _sums_of(checksum: OfUpload, parts: Sequence[UploadedPart]) -> dict[str, str]:
    """That of the object, by the name of its header, if it has one."""
    if not checksum.name or not all(part.checksum for part in parts):
        return {}
    return {checksum.name: checksum.together([(part.checksum, part.size) for part in parts])}


def _check_said(headers: Headers, size: int, sums: Mapping[str, str]) -> None:
    """*sums*: of the object of *size* bytes. :raises S3Error: if *headers* say something else of it."""
    check_known(headers)
    if headers.get("x-amz-mp-object-size").strip() not in ("", str(size)):
        raise S3Error("InvalidRequest", f"x-amz-mp-object-size is another one: the parts have {size} bytes.")
    types = {type_of(value) for value in sums.values()}
    if (type := headers.get(TYPE).strip().upper()) and type not in types:
        raise S3Error("InvalidRequest", f"{TYPE} is another one: {', '.join(types) or 'there is none'}.")
    for name in CHECKSUMS:
        given = headers.get(name).strip()
        if given and name not in sums:
            raise S3Error("InvalidRequest", f"The object has no {name}.")
        if given and given not in (sums[name], sums[name].partition("-")[0]):
            raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")


def _chosen(
    named: Sequence[ET.Element], there: dict[str, UploadedPart], checksum: OfUpload
) -> list[UploadedPart]:
    """The parts that the object is to be made of. :raises S3Error:"""
    if not 0 < len(named) <= MOST_PARTS:
        raise S3Error("MalformedXML", f"There are 1 to {MOST_PARTS} parts.")
    chosen: list[UploadedPart] = []
    for each in named:
        number = text_in(each, "PartNumber")
        part = there.get(number.strip())
        if part is None or text_in(each, "ETag").strip().strip('"') != part.etag:
            raise S3Error("InvalidPart", f"The part {number[:10]} is not there, or has another ETag.")
        given = text_in(each, ELEMENTS[checksum.name]).strip() if checksum.name else ""
        if given and part.checksum and given != part.checksum:
            raise S3Error("InvalidPart", f"The part {number[:10]} has another checksum.")
        if chosen and part.number <= chosen[-1].number:
            raise S3Error("InvalidPartOrder", "The parts are not in their order.")
        chosen.append(part)
    if any(part.size < _LEAST for part in chosen[:-1]):
        raise S3Error("EntityTooSmall", f"Each part but the last has at least {_LEAST} bytes.")
    return chosen


def _range_of(text: str, size: int) -> tuple[int, int]:
    if not text:
        return 0, size
    first, dash, last = text.removeprefix("bytes=").partition("-")
    if not dash or not all(part.isascii() and part.isdecimal() and len(part) < 16 for part in (first, last)):
        raise InvalidRequest("x-amz-copy-source-range has the form bytes=FIRST-LAST.")
    if not int(first) <= int(last) < size:
        raise S3Error("InvalidArgument", f"The range is not in the source, which has {size} bytes.")
    return int(first), int(last) + 1
