"""Objects of S3: putting, getting, copying, deleting one or many."""

import xml.etree.ElementTree as ET
from urllib.parse import unquote

from sfss.errors import NotFound, NotSupported, PreconditionFailed, SfssError
from sfss.http.messages import Headers, Response
from sfss.models import FileInfo
from sfss.objects.catalog import Changes
from sfss.objects.limits import MOST_KEPT, check_metadata
from sfss.objects.models import IN_PARTS, NONE, Metadata, ObjectInfo
from sfss.objects.service import Found, Objects, check_object_name
from sfss.objects.versions import Deleted
from sfss.web.api.object_headers import (
    ACL,
    OF_OBJECTS,
    SANDBOX,
    Described,
    Descriptions,
    copied_properties,
    described,
    if_match_in,
    info_for_conditions,
    kept_in,
    last_modified,
    text_of,
    titled,
    with_sums,
)
from sfss.web.api.s3_acl import acl_document, acl_in, acl_in_body, object_acl, properties_of
from sfss.web.api.s3_body import body_of, copied, document_of
from sfss.web.api.s3_buckets import etag_of
from sfss.web.api.s3_checksums import CHECKSUMS, TYPE, asked_in, elements_of, type_of
from sfss.web.api.s3_errors import S3Error, code_of
from sfss.web.api.s3_request import MOST_PARTS, NULL, S3Request, answer, xml_answer
from sfss.web.api.s3_tags import TAGS, count_of, tags_document, tags_in, tags_in_header
from sfss.web.api.s3_versions import (
    check_not_deleted,
    delete,
    headers_of,
    headers_of_deleted,
    headers_of_version,
    write_conditions,
)
from sfss.web.api.s3_xml import Element, children, document, read, text_in, time_text
from sfss.web.api.streaming import answer_with
from sfss.web.conditional import is_unchanged

_META = "x-amz-meta-"
_MOST_METADATA = 2048  # bytes, as with S3
_MOST_DELETED = 1000
#: What a GET may be answered with, in place of what the object has.
_OVERRIDES = {
    f"response-{name.lower()}": name
    for name in ("Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition")
    + ("Content-Encoding",)
}


_ATTRIBUTES = frozenset(("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"))


class ObjectHandlers:
    def __init__(self, objects: Objects):
        self._objects = objects
        self._catalog = objects.catalog
        self._with_checksums = Descriptions(lambda found: _described(found, True, NONE))
        self._without = Descriptions(lambda found: _described(found, False, NONE))

    async def put(self, asked: S3Request) -> Response:
        check_storage_class(asked.headers)
        headers = asked.headers
        metadata = metadata_in(headers)
        body = body_of(asked, metadata)
        info = await self._objects.put(
            asked.account,
            asked.bucket,
            asked.key,
            body,
            content_type=content_type_in(headers),
            metadata=metadata,
            properties=properties_in(headers),
            length=body.length,
            **await write_conditions(self._objects, asked),
        )
        return answer(200, {"ETag": f'"{info.etag}"', **body.checksums, **headers_of(info, asked)})

    async def copy(self, asked: S3Request) -> Response:
        check_storage_class(asked.headers)
        headers = asked.headers
        bucket, key, source_version = source_in(headers)
        directive = headers.get("x-amz-metadata-directive").strip() or "COPY"
        if directive not in ("COPY", "REPLACE"):
            raise S3Error("InvalidArgument", "x-amz-metadata-directive is COPY or REPLACE.")
        if (bucket, key) == (asked.bucket, asked.key) and source_version is None and directive == "COPY":
            raise S3Error(
                "InvalidRequest", "A copy of an object to itself changes something: REPLACE its metadata."
            )
        found = await self._objects.find(asked.account, bucket, key, source_version)
        check_source(headers, found)
        wanted, content_type = found.info.metadata, found.info.content_type
        if directive == "REPLACE":
            wanted, content_type = metadata_in(headers), content_type_in(headers)
        checksum = asked_in(headers)
        metadata = with_sums(wanted, NONE if checksum else found.info.metadata)
        tagging = headers.get("x-amz-tagging-directive").strip() or "COPY"
        if tagging not in ("COPY", "REPLACE"):
            raise S3Error("InvalidArgument", "x-amz-tagging-directive is COPY or REPLACE.")
        properties = {**copied_properties(found.info), **properties_of(acl_in(headers))}
        if tagging == "REPLACE":
            properties = {**properties, TAGS: "", **tags_in_header(headers)}
        async with self._objects.reading(found, 0, found.size) as pieces:
            info = await self._objects.put(
                asked.account,
                asked.bucket,
                asked.key,
                copied(pieces, checksum, metadata),
                content_type=content_type,
                metadata=metadata,
                properties=properties,
                length=found.size,
                **await write_conditions(self._objects, asked),
            )
        elements: list[Element] = [("LastModified", time_text(info.modified)), ("ETag", f'"{info.etag}"')]
        elements += elements_of(metadata)
        told = headers_of(info, asked)
        if source_version is not None or found.info.version:
            told["x-amz-copy-source-version-id"] = found.info.version or NULL
        return xml_answer(document("CopyObjectResult", elements), told)

    async def get(self, asked: S3Request) -> Response | None:
        try:
            found = await self._objects.find(asked.account, asked.bucket, asked.key, asked.version)
        except NotFound as error:
            if type(error) is NotFound and asked.version is None:
                await check_not_deleted(self._catalog, asked)
            raise
        headers = _quoted(asked.headers)
        one_part, more = None, headers_of(found.info, asked)
        if "partNumber" in asked.query:
            one_part = _part_in(asked, found)
            if found.info.manifest == IN_PARTS:
                more = {**more, "x-amz-mp-parts-count": str(len(found.parts))}
        is_whole = "range" not in headers and one_part is None
        with_checksums = is_whole and headers.get("x-amz-checksum-mode").upper() == "ENABLED"
        if asked.query and (
            overrides := {name: asked.query[key] for key, name in _OVERRIDES.items() if asked.query.get(key)}
        ):
            said = _described(found, with_checksums, overrides)
        else:
            said = (self._with_checksums if with_checksums else self._without).of(found)
        if asked.is_in_host:
            said = said._replace(lines=said.lines.removesuffix(SANDBOX))
        return await answer_with(asked.exchange, headers, self._objects, found, said, more, one_part=one_part)

    async def delete(self, asked: S3Request) -> Response:
        must_have = if_match_in(asked.headers)
        if must_have is not None and asked.version is not None:
            raise NotSupported("A condition for the delete of a version is not supported here.")
        deleted = await delete(self._objects, asked, asked.key, asked.version, must_have)
        return answer(204, headers_of_deleted(deleted))

    async def delete_many(self, asked: S3Request) -> Response:
        await self._catalog.container(asked.account, asked.bucket)
        root = read(await document_of(asked), "Delete")
        named = list(children(root, "Object"))
        if not 0 < len(named) <= _MOST_DELETED or not all(text_in(each, "Key") for each in named):
            raise S3Error("MalformedXML", f"There are 1 to {_MOST_DELETED} objects, each with a key.")
        is_quiet = text_in(root, "Quiet").strip().lower() == "true"
        elements: list[Element] = []
        for each in named:
            key, given = text_in(each, "Key"), text_in(each, "VersionId")
            version = ("" if given == NULL else given) if given else None
            try:
                check_object_name(key)
                deleted = await delete(self._objects, asked, key, version, _condition_in(each, version))
            except SfssError as error:
                failed: list[Element] = [("Key", key), ("Code", code_of(error)[0]), ("Message", str(error))]
                elements.append(("Error", [*failed, *([("VersionId", given)] if given else [])]))
                continue
            if not is_quiet:
                elements.append(("Deleted", _deleted(key, given, deleted)))
        return xml_answer(document("DeleteResult", elements))

    async def get_acl(self, asked: S3Request) -> Response:
        info = (await self._objects.find(asked.account, asked.bucket, asked.key, asked.version)).info
        bucket = await self._catalog.container(asked.account, asked.bucket)
        return xml_answer(acl_document(asked.user, object_acl(info, bucket.metadata)))

    async def put_acl(self, asked: S3Request) -> Response:
        acl = acl_in(asked.headers)
        body = await document_of(asked)
        await self._set(asked, {ACL: acl or acl_in_body(body, asked.user.account_name)})
        return answer(200)

    async def get_attributes(self, asked: S3Request) -> Response:
        """Which of them the client names. (Of parts only how many there are.)"""
        wanted = {name.strip() for name in asked.headers.get("x-amz-object-attributes").split(",")} - {""}
        if not wanted or not wanted <= _ATTRIBUTES:
            raise S3Error("InvalidArgument", "x-amz-object-attributes names what is wanted.")
        found = await self._objects.find(asked.account, asked.bucket, asked.key, asked.version)
        info = found.info
        checksums = elements_of(info.metadata)
        elements: list[Element] = []
        if "ETag" in wanted:
            elements.append(("ETag", etag_of(info, found.etag)))
        if "Checksum" in wanted and checksums:
            elements.append(("Checksum", checksums))
        if "ObjectParts" in wanted and info.manifest == IN_PARTS:
            elements.append(("ObjectParts", [("PartsCount", len(found.parts))]))
        if "StorageClass" in wanted:
            elements.append(("StorageClass", "STANDARD"))
        if "ObjectSize" in wanted:
            elements.append(("ObjectSize", found.size))
        headers = {"Last-Modified": last_modified(info.modified), **headers_of(info, asked)}
        return xml_answer(document("GetObjectAttributesResponse", elements), headers)

    async def get_tagging(self, asked: S3Request) -> Response:
        info = (await self._objects.find(asked.account, asked.bucket, asked.key, asked.version)).info
        return xml_answer(tags_document(info.properties.get(TAGS, "")), headers_of(info, asked))

    async def put_tagging(self, asked: S3Request) -> Response:
        await self._set(asked, {TAGS: tags_in(await document_of(asked)) or None})
        return answer(200, headers_of_version(asked))

    async def delete_tagging(self, asked: S3Request) -> Response:
        await self._set(asked, {TAGS: None})
        return answer(204, headers_of_version(asked))

    async def _set(self, asked: S3Request, changes: Changes) -> None:
        await self._catalog.set_properties(
            asked.account, asked.bucket, asked.key, changes, version=asked.version
        )


def _part_in(asked: S3Request, found: Found) -> tuple[int, int] | None:
    """The bytes of the part that ``partNumber`` asks for, counted from 1; None: all, of an object without bytes.

    (What has not come in parts is one part.) :raises S3Error:
    """
    if "range" in asked.headers:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter.")
    number = asked.number("partNumber", MOST_PARTS + 1, 0)
    if not 1 <= number <= MOST_PARTS:
        raise S3Error("InvalidArgument", f"partNumber is 1 to {MOST_PARTS}.")
    sizes = [found.size]
    if found.info.manifest == IN_PARTS:
        sizes = [part.stop - part.start for part in found.parts]
    if number > len(sizes):
        raise S3Error("InvalidPartNumber", f"The object has {len(sizes)} parts.", 416)
    start = sum(sizes[: number - 1])
    return (start, start + sizes[number - 1]) if found.size else None


def _condition_in(element: ET.Element, version: str | None) -> str | None:
    """The ETag that an object of a list must have to be deleted. :raises NotSupported:"""
    for name in ("Size", "LastModifiedTime"):
        if text_in(element, name):
            raise NotSupported(f"{name} as a condition for a delete is not supported here.")
    named = list(children(element, "ETag"))
    etag = text_in(element, "ETag").strip().strip('"') if named else None  # ("" has no object)
    if etag is not None and version is not None:
        raise NotSupported("A condition for the delete of a version is not supported here.")
    return etag


def _deleted(key: str, given: str, deleted: Deleted) -> list[Element]:
    elements: list[Element] = [("Key", key)]
    if given:
        elements.append(("VersionId", given))
    if deleted.is_marker:
        elements += [("DeleteMarker", True), ("DeleteMarkerVersionId", deleted.version or NULL)]
    return elements


def properties_in(headers: Headers) -> Metadata:
    """The ACL and the tags that an object is to have. :raises S3Error: :raises NotSupported:"""
    return {**properties_of(acl_in(headers)), **tags_in_header(headers)}


def check_storage_class(headers: Headers) -> None:
    """:raises S3Error:"""
    if headers.get("x-amz-storage-class").strip() not in ("", "STANDARD"):
        raise S3Error("InvalidStorageClass", "There is one storage class: STANDARD.")


def metadata_in(headers: Headers) -> dict[str, str]:
    """As it is kept: under the names that it has for Swift, too. :raises S3Error:"""
    found: dict[str, str] = {}
    for name in headers:
        if name.startswith(_META) and len(name) > len(_META):
            found[OF_OBJECTS + titled(name[len(_META) :])] = text_of(headers, name)
    if (
        sum(len(name) - len(OF_OBJECTS) + len(value.encode()) for name, value in found.items())
        > _MOST_METADATA
    ):
        raise S3Error("MetadataTooLarge", f"There are at most {_MOST_METADATA} bytes of metadata.")
    for name in kept_in(headers):
        value = text_of(headers, name)
        if name == "Content-Encoding":  # of the way here, and not of the object
            value = ", ".join(part for each in value.split(",") if (part := each.strip()) != "aws-chunked")
        if value:
            found[name] = value
    check_metadata(found)
    return found


def content_type_in(headers: Headers) -> str:
    content_type = text_of(headers, "Content-Type") or "binary/octet-stream"
    if len(content_type) > MOST_KEPT:
        raise S3Error("InvalidArgument", f"The Content-Type has at most {MOST_KEPT} bytes.")
    return content_type


def source_in(headers: Headers) -> tuple[str, str, str | None]:
    """The bucket, the key and the version that ``x-amz-copy-source`` names. :raises S3Error:"""
    path, _, query = headers.get("x-amz-copy-source").strip().partition("?")
    bucket, _, key = unquote(path, errors="replace").lstrip("/").partition("/")
    if not bucket or not key:
        raise S3Error("InvalidArgument", "x-amz-copy-source has the form BUCKET/KEY.")
    name, _, version = query.partition("=")
    if name not in ("", "versionId"):
        raise S3Error("InvalidArgument", "x-amz-copy-source has the form BUCKET/KEY?versionId=ID.")
    return bucket, key, None if not name else "" if version == NULL else version


def check_source(headers: Headers, found: Found) -> None:
    """``x-amz-copy-source-if-…``. :raises PreconditionFailed:"""
    prefix = "x-amz-copy-source-if-"
    conditions = {
        "if-" + name.removeprefix(prefix): value
        for name, value in headers.raw.items()
        if name.startswith(prefix)
    }
    if conditions and is_unchanged(_quoted(Headers(conditions)), file_info(found)):
        raise PreconditionFailed("The source is not as x-amz-copy-source-if- wants it.")


def _quoted(headers: Headers) -> Headers:
    """The same with the quotes of ETags: S3 knows them without, and clients leave them out."""
    bare = {
        name: b'"%b"' % value
        for name in ("if-match", "if-none-match", "if-range")
        if (value := headers.raw.get(name, b"").strip()) and not value.startswith((b'"', b"W/", b"*"))
    }
    return Headers({**headers.raw, **bare}) if bare else headers


def file_info(found: Found) -> FileInfo:
    return info_for_conditions(found.info, found.size, etag_of(found.info, found.etag))


def _described(found: Found, with_checksums: bool, overrides: Metadata) -> Described:
    info = found.info
    etag = etag_of(info, found.etag)
    lines = _lines(info, etag, with_checksums)
    if info.properties.get(TAGS):
        lines["x-amz-tagging-count"] = str(count_of(info.properties[TAGS]))
    return described(info, found.size, etag, lines | dict(overrides))


def _lines(info: ObjectInfo, etag: str, with_checksums: bool) -> dict[str, str]:
    lines = {
        "Content-Type": info.content_type,
        "ETag": f'"{etag}"',
        "Last-Modified": last_modified(info.modified),
        "Accept-Ranges": "bytes",
    }
    for name, value in info.metadata.items():
        if name in CHECKSUMS:
            if not with_checksums:
                continue
            lines[TYPE] = type_of(value)
        is_own = name.startswith(OF_OBJECTS)
        lines[_META + name[len(OF_OBJECTS) :].lower() if is_own else name] = value
    return lines
