"""Uploads in parts: begun, filled, listed, completed, aborted."""

import hashlib
import secrets
from collections.abc import Sequence

from sfss.errors import InvalidRequest, NotSupported
from sfss.http.messages import Response
from sfss.objects.clock import now_us
from sfss.objects.models import IN_PARTS, ObjectInfo, Query, Upload, UploadedPart
from sfss.objects.service import Objects
from sfss.web.api.object_headers import conditions_in
from sfss.web.api.s3_acl import owner_of
from sfss.web.api.s3_body import body_of, document_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_objects import (
    check_source,
    check_supported,
    content_type_in,
    metadata_in,
    properties_in,
    source_in,
)
from sfss.web.api.s3_request import MOST_PARTS, S3Request, answer, xml_answer
from sfss.web.api.s3_versions import headers_of
from sfss.web.api.s3_xml import Element, children, document, read, text_in, time_text

#: Of each part but the last, bytes.
_LEAST = 5 * 1024 * 1024
_MOST_LISTED = 1000


class MultipartHandlers:
    def __init__(self, objects: Objects):
        self._objects = objects
        self._catalog = objects.catalog

    async def begin(self, asked: S3Request) -> Response:
        check_supported(asked.headers)
        upload = Upload(
            secrets.token_hex(24),
            asked.key,
            content_type_in(asked.headers),
            metadata_in(asked.headers),
            now_us(),
            properties_in(asked.headers),
        )
        await self._catalog.begin_upload(asked.account, asked.bucket, upload)
        elements: list[Element] = [("Bucket", asked.bucket), ("Key", asked.key), ("UploadId", upload.id)]
        return xml_answer(document("InitiateMultipartUploadResult", elements))

    async def put_part(self, asked: S3Request) -> Response:
        number = asked.number("partNumber", MOST_PARTS + 1, 0)
        if not 1 <= number <= MOST_PARTS:
            raise S3Error("InvalidArgument", f"partNumber is 1 to {MOST_PARTS}.")
        upload = await self._upload(asked)
        if "x-amz-copy-source" in asked.headers:
            return await self._copy_part(asked, upload, number)
        body = body_of(asked)
        part = await self._objects.put_part(upload, number, body, length=body.length)
        return answer(200, {"ETag": f'"{part.etag}"', **body.checksums})

    async def _copy_part(self, asked: S3Request, upload: Upload, number: int) -> Response:
        headers = asked.headers
        found = await self._objects.find(asked.account, *source_in(headers))
        check_source(headers, found)
        start, stop = _range_of(headers.get("x-amz-copy-source-range").strip(), found.size)
        async with self._objects.reading(found, start, stop) as pieces:
            part = await self._objects.put_part(upload, number, pieces, length=stop - start)
        elements: list[Element] = [("LastModified", time_text(part.modified)), ("ETag", f'"{part.etag}"')]
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
        elements += [
            (
                "Part",
                (
                    ("PartNumber", part.number),
                    ("LastModified", time_text(part.modified)),
                    ("ETag", f'"{part.etag}"'),
                    ("Size", part.size),
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
        id = asked.query.get("upload-id-marker", "")
        place = f"{marker}\0{id}" if marker and id else marker
        page = await self._catalog.uploads(
            asked.account, asked.bucket, Query(max(limit, 1), prefix, marker=place)
        )
        elements: list[Element] = [
            ("Bucket", asked.bucket),
            ("KeyMarker", marker),
            ("Prefix", prefix),
            ("MaxUploads", limit),
            ("IsTruncated", page.cursor is not None),
        ]
        if page.cursor is not None:
            last = page.files[-1]
            elements += [("NextKeyMarker", last.path), ("NextUploadIdMarker", last.id)]
        elements += [
            (
                "Upload",
                (
                    ("Key", upload.path),
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
        upload = await self._upload(asked)
        root = read(await document_of(asked), "CompleteMultipartUpload")
        named = [(text_in(each, "PartNumber"), text_in(each, "ETag")) for each in children(root, "Part")]
        parts = _chosen(named, {str(part.number): part for part in await self._catalog.parts(upload.id)})
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        conditions = conditions_in(asked.headers, NotSupported)
        info = ObjectInfo(
            asked.key,
            sum(part.size for part in parts),
            etag,
            upload.content_type,
            now_us(),
            upload.id,
            self._objects.piece_size,
            upload.metadata,
            IN_PARTS,
            upload.properties,
        )
        version = await self._catalog.complete_upload(
            asked.account,
            asked.bucket,
            info,
            parts,
            **conditions,
        )
        elements: list[Element] = [
            ("Location", f"/{asked.bucket}/{asked.key}"),
            ("Bucket", asked.bucket),
            ("Key", asked.key),
            ("ETag", f'"{etag}"'),
        ]
        told = headers_of(info._replace(version=version), asked)
        return xml_answer(document("CompleteMultipartUploadResult", elements), told)

    async def abort(self, asked: S3Request) -> Response:
        upload = await self._upload(asked)
        await self._catalog.abort_upload(upload.id)
        return answer(204)

    async def _upload(self, asked: S3Request) -> Upload:
        return await self._catalog.upload(asked.account, asked.bucket, asked.key, asked.query["uploadId"])


def _chosen(named: Sequence[tuple[str, str]], there: dict[str, UploadedPart]) -> list[UploadedPart]:
    """The parts that the object is to be made of. :raises S3Error:"""
    if not 0 < len(named) <= MOST_PARTS:
        raise S3Error("MalformedXML", f"There are 1 to {MOST_PARTS} parts.")
    chosen: list[UploadedPart] = []
    for number, etag in named:
        part = there.get(number.strip())
        if part is None or etag.strip().strip('"') != part.etag:
            raise S3Error("InvalidPart", f"The part {number[:10]} is not there, or has another ETag.")
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
