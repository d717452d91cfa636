"""Buckets of S3: the list of them, making and deleting them, and what is in one."""

import base64
import binascii
import re
from functools import partial

from sfss.errors import NotSupported
from sfss.http.messages import Response
from sfss.objects.listings import every
from sfss.objects.manifests import is_of_others
from sfss.objects.models import ObjectInfo, Query
from sfss.objects.service import Objects
from sfss.web.api.s3_acl import acl_in, owner_of, rights_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_listing import MOST_LISTED, listing_of
from sfss.web.api.s3_request import S3Request, answer, xml_answer
from sfss.web.api.s3_xml import Element, document, read, time_text

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_MOST_DOCUMENT = 64 * 1024
_MOST_BUCKETS = 10_000
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


class BucketHandlers:
    def __init__(self, objects: Objects):
        self._objects = objects
        self._catalog = objects.catalog

    async def list_buckets(self, asked: S3Request) -> Response:
        containers = partial(self._catalog.containers, asked.account)
        query = Query(
            MOST_LISTED,
            asked.query.get("prefix", ""),
            marker=_cursor_in(asked.query.get("continuation-token", "")),
        )
        most = asked.number("max-buckets", _MOST_BUCKETS, 0)
        if not most and "max-buckets" in asked.query:
            raise S3Error("InvalidArgument", f"max-buckets is 1 to {_MOST_BUCKETS}.")
        if most:
            page = await containers(query._replace(limit=most))
            found, cursor = list(page.files), page.cursor
        else:
            found, cursor = [each async for each in every(containers, query)], None
        buckets: list[Element] = [
            ("Bucket", (("Name", each.path), ("CreationDate", time_text(each.created)))) for each in found
        ]
        elements: list[Element] = [owner_of(asked.user), ("Buckets", buckets)]
        if query.prefix:
            elements.append(("Prefix", query.prefix))
        if cursor is not None:
            elements.append(("ContinuationToken", _token_of(cursor)))
        return xml_answer(document("ListAllMyBucketsResult", elements))

    async def make(self, asked: S3Request) -> Response:
        acl = acl_in(asked.headers)
        if asked.headers.get("x-amz-bucket-object-lock-enabled").lower() == "true":
            raise NotSupported("Object lock is not supported here.")
        if not _NAME.fullmatch(asked.bucket) or ".." in asked.bucket or _ADDRESS.fullmatch(asked.bucket):
            raise S3Error(
                "InvalidBucketName",
                "A bucket has 3 to 63 lower-case letters, digits, dots and hyphens, and is no IP address.",
            )
        if body := await asked.body.whole(most=_MOST_DOCUMENT):
            read(body, "CreateBucketConfiguration")  # where it is to be: there is one place only
        await self._catalog.make_container(asked.account, asked.bucket, rights_of(acl) if acl else {})
        return answer(200, {"Location": f"/{asked.bucket}"})

    async def head(self, asked: S3Request) -> Response:
        await self._catalog.container(asked.account, asked.bucket)
        return answer(200, {"x-amz-bucket-region": "us-east-1"})

    async def delete(self, asked: S3Request) -> Response:
        await self._catalog.delete_container(asked.account, asked.bucket)
        return answer(204)

    async def list_objects(self, asked: S3Request) -> Response:
        """Of both versions of the API."""
        query = asked.query
        is_v2 = query.get("list-type") == "2"
        if query.get("list-type", "2") != "2":
            raise S3Error("InvalidArgument", "list-type is 2, or is not there.")
        token = query.get("continuation-token", "")
        marker = query.get("start-after" if is_v2 else "marker", "")
        if is_v2 and token:
            marker = _cursor_in(token)
        listing = listing_of(asked, marker)
        page = await listing.page(self._objects, asked, self._catalog.objects, marker)
        prefix, delimiter, encoding, limit = listing
        text = listing.text
        elements: list[Element] = [("Name", asked.bucket), ("Prefix", text(prefix)), ("MaxKeys", limit)]
        if delimiter:
            elements.append(("Delimiter", text(delimiter)))
        if encoding:
            elements.append(("EncodingType", encoding))
        elements.append(("IsTruncated", page.cursor is not None))
        if is_v2:
            elements.append(("KeyCount", len(page.files) + len(page.folders)))
            if token:
                elements.append(("ContinuationToken", token))
            elif marker:
                elements.append(("StartAfter", text(marker)))
            if page.cursor is not None:
                elements.append(("NextContinuationToken", _token_of(page.cursor)))
        else:
            elements.append(("Marker", text(marker)))
            if page.cursor is not None:
                elements.append(("NextMarker", text(page.cursor)))
        with_owner = not is_v2 or query.get("fetch-owner") == "true"
        owner = [owner_of(asked.user)] if with_owner else []
        elements += [("Contents", [*_contents(each, text(each.path)), *owner]) for each in page.files]
        elements += [("CommonPrefixes", [("Prefix", text(folder))]) for folder in page.folders]
        return xml_answer(document("ListBucketResult", elements))


def _contents(info: ObjectInfo, key: str) -> list[Element]:
    return [
        ("Key", key),
        ("LastModified", time_text(info.modified)),
        ("ETag", f'"{etag_of(info, info.etag)}"'),
        ("Size", info.size),
        ("StorageClass", "STANDARD"),
    ]


def etag_of(info: ObjectInfo, etag: str) -> str:
    """As S3 gives it. What looks like an MD5 has to be that of the content; what is made of others has none."""
    return f"{etag}-1" if is_of_others(info) else etag


def _token_of(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode()


def _cursor_in(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token is none of ours.") from None
