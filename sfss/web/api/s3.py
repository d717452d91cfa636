"""S3's API: whose request it is, and what it wants. It shares containers and objects with Swift's.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import unquote_plus

from sfss.errors import Forbidden, InvalidRequest, NotSupported, SfssError
from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Request, Response
from sfss.objects.service import Objects
from sfss.objects.users import Users
from sfss.web.api.s3_buckets import BucketHandlers
from sfss.web.api.s3_errors import S3Error, s3_response
from sfss.web.api.s3_multipart import MultipartHandlers
from sfss.web.api.s3_objects import ObjectHandlers
from sfss.web.api.s3_request import S3Request
from sfss.web.api.s3_signature import check, is_signed
from sfss.web.operations import Call, MakeOperation
from sfss.web.query import percent_decoded
from sfss.web.streams import Incoming

log = logging.getLogger("sfss.objects")

Handler = Callable[[S3Request], Awaitable[Response | None]]

#: What a query may ask for beside the thing itself.
_OF_BUCKETS = frozenset(
    ("accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle")
    + ("location", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy")
    + ("policyStatus", "publicAccessBlock", "replication", "requestPayment", "tagging", "versioning")
    + ("versions", "website", "session", "metadataTable", "metadataConfiguration")
)
_OF_OBJECTS = frozenset(
    ("acl", "attributes", "legal-hold", "object-lock", "restore", "retention", "select", "tagging", "torrent")
    + ("renameObject", "encryption")
)


class S3:
    """*objects*. *domain*: buckets may be names under it, in the Host header; "" for none."""

    def __init__(self, objects: Objects, users: Users, *, domain: str, body_timeout: float):
        self._users = users
        self._domain = domain.lower()
        self._body_timeout = body_timeout
        self._buckets = BucketHandlers(objects)
        self._objects = ObjectHandlers(objects)
        self._multipart = MultipartHandlers(objects)

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`."""
        return (self._call, "s3") if is_signed(request) else None

    def _call(self, request: Request) -> Call:
        return Call(request, self.handle)

    async def handle(self, exchange: Exchange) -> Response | None:
        try:
            return await self._answered(exchange)
        except SfssError as error:
            exchange.id = exchange.id or exchange.server.handler.new_id()
            log.debug("refused", extra={"request_id": exchange.id, "reason": str(error)})
            return s3_response(error, exchange.path, exchange.id)

    async def _answered(self, exchange: Exchange) -> Response | None:
        headers = exchange.headers
        in_host = self._bucket_in_host(headers)
        signed = await check(exchange, self._users, in_host)
        path = percent_decoded(exchange.path[1:], "URL")
        bucket, key = (in_host, path) if in_host else path.partition("/")[::2]
        query = _arguments(exchange.query)
        body = Incoming(exchange, self._body_timeout)
        asked = S3Request(exchange, headers, query, signed, bucket, key, body)
        if signed.user.read_only and exchange.method not in ("GET", "HEAD"):
            raise Forbidden("This user may only read.")
        handler = self._handler(asked)
        return await handler(asked)

    def _handler(self, asked: S3Request) -> Handler:
        """:raises S3Error: :raises NotSupported:"""
        method, query = asked.exchange.method, asked.query
        if query.get("versionId", "null") != "null":
            raise NotSupported("Versions are not supported here.")
        if not asked.bucket:
            if method == "GET":
                return self._buckets.list_buckets
        elif not asked.key:
            if handler := self._of_bucket(asked, method):
                return handler
        elif handler := self._of_object(asked, method):
            return handler
        raise S3Error("MethodNotAllowed", f"{method} is not for this.", 405)

    def _of_bucket(self, asked: S3Request, method: str) -> Handler | None:
        query = asked.query
        if "uploads" in query and method == "GET":
            return self._multipart.list_uploads
        if "delete" in query and method == "POST":
            return self._objects.delete_many
        if "acl" in query and method == "PUT":
            return self._objects.put_acl
        for what in _OF_BUCKETS.intersection(query):
            if method != "GET":
                raise NotSupported(f"{method} of {what} is not supported here.")
            return partial(self._buckets.get_configuration, what)
        return {
            "GET": self._buckets.list_objects,
            "HEAD": self._buckets.head,
            "PUT": self._buckets.make,
            "DELETE": self._buckets.delete,
        }.get(method)

    def _of_object(self, asked: S3Request, method: str) -> Handler | None:
        query = asked.query
        if "uploads" in query and method == "POST":
            return self._multipart.begin
        if "uploadId" in query:
            return {
                "PUT": self._multipart.put_part,
                "GET": self._multipart.list_parts,
                "POST": self._multipart.complete,
                "DELETE": self._multipart.abort,
            }.get(method)
        if "acl" in query and method == "PUT":
            return self._objects.put_acl
        for what in _OF_OBJECTS.intersection(query):
            if method == "GET" and what in ("acl", "tagging"):
                return self._objects.get_acl if what == "acl" else self._objects.get_tagging
            raise NotSupported(f"{method} of {what} is not supported here.")
        if "partNumber" in query:
            raise NotSupported("Single parts of an object are not supported here.")
        if method == "PUT" and "x-amz-copy-source" in asked.headers:
            return self._objects.copy
        return {
            "GET": self._objects.get,
            "HEAD": self._objects.get,
            "PUT": self._objects.put,
            "DELETE": self._objects.delete,
        }.get(method)

    def _bucket_in_host(self, headers: Headers) -> str:
        host = headers.get("host").strip().lower().partition(":")[0]
        suffix = f".{self._domain}"
        return host.removesuffix(suffix) if self._domain and host.endswith(suffix) else ""


def _arguments(query: str) -> Mapping[str, str]:
    """:raises InvalidRequest: if one is not UTF-8."""
    found = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            try:
                found[unquote_plus(name, errors="strict")] = unquote_plus(value, errors="strict")
            except UnicodeError:
                raise InvalidRequest("The query is not valid UTF-8.") from None
    return found
