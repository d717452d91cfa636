"""Versions of objects, as S3 shows them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html.
"""

from sfss.errors import NotFound, NotSupported, WasDeleted
from sfss.http.messages import Response
from sfss.objects.catalog import Catalog
from sfss.objects.models import ObjectInfo, Query
from sfss.objects.service import Conditions, Found, Objects
from sfss.objects.versions import ENABLED, OFF, SUSPENDED, Deleted, Version, behind_all, place_of
from sfss.web.api.object_headers import conditions_in
from sfss.web.api.s3_acl import owner_of
from sfss.web.api.s3_body import document_of
from sfss.web.api.s3_buckets import etag_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_listing import listing_of
from sfss.web.api.s3_request import NULL, S3Request, answer, xml_answer
from sfss.web.api.s3_xml import Element, document, read, text_in, time_text

_STATES = {ENABLED: "Enabled", SUSPENDED: "Suspended"}


def headers_of(info: ObjectInfo, asked: S3Request) -> dict[str, str]:
    """Which version an answer is of, where that is of interest."""
    if info.version or asked.version is not None:
        return {"x-amz-version-id": info.version or NULL}
    return {}


def headers_of_version(asked: S3Request) -> dict[str, str]:
    """The one that was asked for, if one was."""
    return {} if asked.version is None else {"x-amz-version-id": asked.version or NULL}


def headers_of_deleted(deleted: Deleted) -> dict[str, str]:
    marker = {"x-amz-delete-marker": "true"} if deleted.is_marker else {}
    if deleted.version or deleted.is_marker:
        return {"x-amz-version-id": deleted.version or NULL, **marker}
    return {}


class VersionHandlers:
    def __init__(self, objects: Objects):
        self._objects = objects
        self._catalog = objects.catalog

    async def get_state(self, asked: S3Request) -> Response:
        state = (await self._catalog.container(asked.account, asked.bucket)).versioning
        elements: list[Element] = [] if state == OFF else [("Status", _STATES[state])]
        return xml_answer(document("VersioningConfiguration", elements))

    async def put_state(self, asked: S3Request) -> Response:
        root = read(await document_of(asked), "VersioningConfiguration")
        if text_in(root, "MfaDelete").strip() == "Enabled":
            raise NotSupported("MfaDelete is not supported here.")
        states = {text: state for state, text in _STATES.items()}
        text = text_in(root, "Status").strip()
        if text not in states:
            raise S3Error("MalformedXML", "Status is Enabled or Suspended.")
        await self._catalog.set_versioning(asked.account, asked.bucket, states[text])
        return answer(200)

    async def list(self, asked: S3Request) -> Response:
        query = asked.query
        key, version = query.get("key-marker", ""), query.get("version-id-marker", "")
        if version and not key:
            raise S3Error("InvalidArgument", "A version-id-marker comes with a key-marker.")
        listing = listing_of(asked, key)
        marker = await self._place(asked, key, version, listing.delimiter)
        page = await listing.page(self._objects, asked, self._catalog.versions, marker)
        prefix, delimiter, encoding, limit = listing
        text = listing.text
        elements: list[Element] = [
            ("Name", asked.bucket),
            ("Prefix", text(prefix)),
            ("KeyMarker", text(key)),
            ("VersionIdMarker", version),
            ("MaxKeys", limit),
            ("IsTruncated", page.cursor is not None),
        ]
        if delimiter:
            elements.append(("Delimiter", text(delimiter)))
        if encoding:
            elements.append(("EncodingType", encoding))
        if page.cursor is not None:
            name, null, _ = page.cursor.partition("\0")
            elements.append(("NextKeyMarker", text(name)))
            if null:
                elements.append(("NextVersionIdMarker", page.files[-1].info.version or NULL))
        elements += [_entry(each, text(each.info.path), owner_of(asked.user)) for each in page.files]
        elements += [("CommonPrefixes", [("Prefix", text(folder))]) for folder in page.folders]
        return xml_answer(document("ListVersionsResult", elements))

    async def _place(self, asked: S3Request, key: str, version: str, delimiter: str) -> str:
        """From where on it is listed."""
        if not key or (delimiter and key.endswith(delimiter) and not version):
            return key  # a folder, and what is in it
        if not version:
            return behind_all(key)
        page = await self._catalog.versions(
            asked.account, asked.bucket, Query(10_000, key, marker=place_of(key, 2**62))
        )
        for each in page.files:
            if each.info.path == key and each.info.version == ("" if version == NULL else version):
                return each.path
        return behind_all(key)  # it was deleted meanwhile


def _entry(each: Version, key: str, owner: Element) -> Element:
    info = each.info
    elements: list[Element] = [
        ("Key", key),
        ("VersionId", info.version or NULL),
        ("IsLatest", each.is_latest),
        ("LastModified", time_text(info.modified)),
    ]
    if each.is_marker:
        return "DeleteMarker", [*elements, owner]
    elements += [
        ("ETag", f'"{etag_of(info, info.etag)}"'),
        ("Size", info.size),
        ("StorageClass", "STANDARD"),
        owner,
    ]
    return "Version", elements


async def check_not_deleted(catalog: Catalog, asked: S3Request) -> None:
    """Of an object that is not there. :raises WasDeleted: if a marker says so."""
    if (await catalog.container(asked.account, asked.bucket)).versioning == OFF:
        return
    newest = Query(1, asked.key, marker=place_of(asked.key, 2**62))
    for each in (await catalog.versions(asked.account, asked.bucket, newest)).files:
        if each.info.path == asked.key and each.is_marker:
            raise WasDeleted(asked.key, each.info.version or NULL)


async def write_conditions(objects: Objects, asked: S3Request) -> Conditions:
    """What a write asks for of what is there. :raises NotSupported:"""
    path = (asked.account, asked.bucket, asked.key)
    return await conditions_in(asked.headers, NotSupported, objects, path, _shown_etag)


def _shown_etag(found: Found) -> str:
    return etag_of(found.info, found.etag)


async def delete(
    objects: Objects, asked: S3Request, key: str, version: str | None, must_have: str | None
) -> Deleted:
    """An object, or a version of it for good. To S3 it is no error if there is none.

    :raises NoSuchContainer: :raises PreconditionFailed:
    """
    catalog = objects.catalog
    try:
        if version is not None:
            return await catalog.delete_version(asked.account, asked.bucket, key, version)
        path = (asked.account, asked.bucket, key)
        if must_have is not None:
            must_have = await objects.etag_itself(path, must_have, _shown_etag)
        return await catalog.delete_object(*path, must_have=must_have)
    except NotFound:
        await catalog.container(asked.account, asked.bucket)
        return Deleted(version or "", False)
