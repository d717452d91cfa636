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
from sfss.objects.service import Objects, check_object_name
from sfss.objects.users import Users
from sfss.web.api import s3_cors
from sfss.web.api.object_headers import lines_of
from sfss.web.api.own_url import OwnUrl
from sfss.web.api.s3_anonymous import anybody
from sfss.web.api.s3_buckets import BucketHandlers
from sfss.web.api.s3_configurations import ConfigurationHandlers
from sfss.web.api.s3_errors import S3Error, s3_response
from sfss.web.api.s3_forms import Forms, is_form
from sfss.web.api.s3_multipart import MultipartHandlers
from sfss.web.api.s3_objects import ObjectHandlers
from sfss.web.api.s3_request import (
    OF_BUCKETS,
    OF_OBJECTS,
    S3Request,
    check_arguments,
    with_signed_arguments,
)
from sfss.web.api.s3_signature import check, is_signed
from sfss.web.api.s3_versions import VersionHandlers
from sfss.web.cors import Cors
from sfss.web.operations import Call, MakeOperation
from sfss.web.query import percent_decoded
from sfss.web.streams import Incoming

log = logging.getLogger("sfss.objects")

#: What all its requests are called in the metrics.
ROUTE = "s3"

Handler = Callable[[S3Request], Awaitable[Response | None]]

#: What of a version can be changed.
_OF_VERSIONS = frozenset(("acl", "tagging"))

#: Who asks may say whose buckets these are.
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_READING = frozenset(("GET", "HEAD"))


class S3:
    """*objects*. *domain*: buckets may be names under it, in the Host header; "" for none."""

    def __init__(
        self, objects: Objects, users: Users, cors: Cors, url: OwnUrl, *, domain: str, body_timeout: float
    ):
        self._users = users
        self._reads_at_once = objects.reads_at_once
        self._cors_of_server = cors
        self._catalog = objects.catalog
        self._domain = domain.lower()
        self._body_timeout = body_timeout
        self._buckets = BucketHandlers(objects)
        self._objects = ObjectHandlers(objects)
        self._multipart = MultipartHandlers(objects, url)
        self._configurations = ConfigurationHandlers(objects)
        self._versions = VersionHandlers(objects)
        self._forms = Forms(objects, users, url)
        self._of_objects: dict[str, Handler] = {
            "GET": self._objects.get,
            "HEAD": self._objects.get,
            "PUT": self._objects.put,
            "DELETE": self._objects.delete,
        }
        self._of_uploads: dict[str, Handler] = {
            "PUT": self._multipart.put_part,
            "GET": self._multipart.list_parts,
            "POST": self._multipart.complete,
            "DELETE": self._multipart.abort,
        }

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`."""
        is_ours = is_signed(request) or self._bucket_in_host(request.headers)
        return (self._call, ROUTE) if is_ours else None

    def find_unsigned(self, request: Request) -> tuple[MakeOperation, str] | None:
        """The same of what is nobody else's."""
        return self._call, ROUTE

    def _call(self, request: Request) -> Call:
        return Call(request, self.handle, at_once=self._reads_at_once and request.method in _READING)

    async def handle(self, exchange: Exchange) -> Response | None:
        try:
            in_host = self._bucket_in_host(exchange.headers)
            path = percent_decoded(exchange.path[1:], "URL")
            bucket, key = (in_host, path) if in_host else path.partition("/")[::2]
            if key:
                check_object_name(key)
            if exchange.method == "OPTIONS":
                return await self._preflight(exchange, bucket)
            if "origin" in exchange.headers:
                await self._cors(exchange, bucket)
            return await self._answered(exchange, in_host, bucket, key)
        except SfssError as error:
            exchange.id = exchange.id or exchange.server.handler.new_id()
            log.debug("refused", extra={"request_id": exchange.id, "reason": str(error)})
            return s3_response(error, exchange.path, exchange.id)

    async def _answered(self, exchange: Exchange, in_host: str, bucket: str, key: str) -> Response | None:
        headers, method = exchange.headers, exchange.method
        query = _arguments(exchange.query)
        if is_signed(exchange):
            signed = await check(exchange, self._users, in_host)
            if "X-Amz-Algorithm" in query:
                headers = with_signed_arguments(headers, query)
        elif is_form(exchange):
            return await self._forms.post(exchange, Incoming(exchange, self._body_timeout), bucket)
        else:
            signed = await anybody(self._catalog, method, bucket, key, frozenset(query))
        body = Incoming(exchange, self._body_timeout)
        asked = S3Request(exchange, headers, query, signed, bucket, key, body, bool(in_host))
        check_arguments(method, headers, query)
        for name in _OWNERS:
            if name in headers and headers[name].strip() != signed.user.account_name:
                raise S3Error("AccessDenied", f"The bucket is not of the account that {name} names.", 403)
        if signed.user.read_only and method not in _READING:
            raise Forbidden("This user may only read.")
        handler = self._handler(asked)
        return await handler(asked)

    # Pages of other sites.

    async def _rules(self, bucket: str) -> list[s3_cors.Rule]:
        """Of all buckets of that name: a URL names no account, and to read an answer is no right yet."""
        found = await self._catalog.containers_named(bucket) if bucket else []
        return [rule for *_, info in found for rule in s3_cors.rules_of(info.metadata)]

    async def _cors(self, exchange: Exchange, bucket: str) -> None:
        """See to it that a page that may see the answer does, whatever it is."""
        origin = exchange.headers.get("origin")
        if not self._cors_of_server.allows(origin) and (rules := await self._rules(bucket)):
            exchange.more_lines += lines_of(s3_cors.headers_for(rules, origin, exchange.method))

    async def _preflight(self, exchange: Exchange, bucket: str) -> Response:
        headers = exchange.headers
        method = headers.get("access-control-request-method").strip()
        wanted = [name.strip().lower() for name in headers.get("access-control-request-headers").split(",")]
        rules = await self._rules(bucket)
        found = s3_cors.preflight_headers(
            rules, headers.get("origin"), method, [name for name in wanted if name]
        )
        if not found:
            raise S3Error("AccessForbidden", "CORSResponse: This CORS request is not allowed.", 403)
        return Response(200, lines_of(found))

    # What is wanted.

    def _handler(self, asked: S3Request) -> Handler:
        """:raises S3Error: :raises NotSupported:"""
        method = asked.exchange.method
        is_of_version = method == "PUT" and asked.key and _OF_VERSIONS.intersection(asked.query)
        if asked.version is not None and method not in ("GET", "HEAD", "DELETE") and not is_of_version:
            raise NotSupported(f"{method} of a version is not supported here.")
        if asked.query.get("versionId") == "":
            raise S3Error("InvalidArgument", "A version has an id, or is 'null'.")
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
        if "versions" in query and method == "GET":
            return self._versions.list
        if "versioning" in query and method in ("GET", "PUT"):
            return self._versions.get_state if method == "GET" else self._versions.put_state
        for what in OF_BUCKETS.intersection(query):
            kinds = {
                "GET": self._configurations.get,
                "PUT": self._configurations.put,
                "DELETE": self._configurations.delete,
            }
            if method not in kinds:
                raise NotSupported(f"{method} of {what} is not supported here.")
            return partial(kinds[method], what)
        return {
            "GET": self._buckets.list_objects,
            "HEAD": self._buckets.head,
            "PUT": self._buckets.make,
            "DELETE": self._buckets.delete,
        }.get(method)

    def _of_object(self, asked: S3Request, method: str) -> Handler | None:
        if asked.query and (handler := self._of_query(asked.query, method)):
            return handler
        if method == "PUT" and "x-amz-copy-source" in asked.headers:
            return self._objects.copy
        return self._of_objects.get(method)

    def _of_query(self, query: Mapping[str, str], method: str) -> Handler | None:
        """None: it is the object that is wanted. :raises S3Error: :raises NotSupported:"""
        if "uploads" in query and method == "POST":
            return self._multipart.begin
        if "uploadId" in query:
            if handler := self._of_uploads.get(method):
                return handler
            raise S3Error("MethodNotAllowed", f"{method} is not for this.", 405)
        for what in OF_OBJECTS.intersection(query):
            if handler := self._of_part(method, what):
                return handler
            raise NotSupported(f"{method} of {what} is not supported here.")
        if "partNumber" in query and method not in _READING:
            raise NotSupported(f"{method} of a single part is not supported here.")
        return None

    def _of_part(self, method: str, what: str) -> Handler | None:
        """Of what an object has beside its bytes."""
        return {
            ("GET", "acl"): self._objects.get_acl,
            ("PUT", "acl"): self._objects.put_acl,
            ("GET", "tagging"): self._objects.get_tagging,
            ("PUT", "tagging"): self._objects.put_tagging,
            ("DELETE", "tagging"): self._objects.delete_tagging,
            ("GET", "attributes"): self._objects.get_attributes,
        }.get((method, what))

    def _bucket_in_host(self, headers: Headers) -> str:
        if not self._domain:
            return ""
        host = headers.get("host").strip().lower().partition(":")[0]
        suffix = f".{self._domain}"
        return host.removesuffix(suffix) if host.endswith(suffix) else ""


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
