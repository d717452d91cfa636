"""A request of S3's API, taken apart."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sfss.errors import InvalidRequest, NotSupported
from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Response
from sfss.objects.models import User
from sfss.web.api.object_headers import lines_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_signature import Signed
from sfss.web.streams import Incoming

#: What the version of an object is called that has none.
NULL = "null"
#: Of an upload.
MOST_PARTS = 10_000
#: What a query may ask for beside the thing itself.
OF_BUCKETS = frozenset(
    ("accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle")
    + ("location", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy")
    + ("policyStatus", "publicAccessBlock", "replication", "requestPayment", "tagging", "versioning")
    + ("versions", "website", "session", "metadataTable", "metadataConfiguration")
)
OF_OBJECTS = frozenset(
    ("acl", "attributes", "legal-hold", "object-lock", "restore", "retention", "select", "tagging", "torrent")
    + ("renameObject", "encryption")
)
#: The same, and what a query may do: none of it is for everybody.
PARTS_OF_BUCKETS = OF_BUCKETS | {"delete", "uploads"}
PARTS_OF_OBJECTS = OF_OBJECTS | {"uploadId", "uploads"}
#: Everything that a query may say and that is known here, but for what begins with x-: of signatures, and for logs.
_ARGUMENTS = (PARTS_OF_BUCKETS | PARTS_OF_OBJECTS).union(
    "AWSAccessKeyId Signature Expires versionId partNumber list-type prefix delimiter marker max-keys".split(),
    "encoding-type continuation-token start-after fetch-owner max-buckets bucket-region key-marker".split(),
    "version-id-marker upload-id-marker max-uploads part-number-marker max-parts response-expires".split(),
    "response-content-type response-content-language response-content-encoding".split(),
    "response-content-disposition response-cache-control".split(),
)
#: Headers that would make another thing of a request, and are not done: it must not look as if they were.
_NOT_DONE = (
    ("x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption", "x-amz-object-lock-")
    + ("x-amz-website-redirect-location", "x-amz-write-offset-bytes", "x-amz-if-match-")
    + ("x-amz-object-annotation-",)
)
#: What a signature in the query says there. (Names in lower case.)
_OF_SIGNATURES = frozenset(
    f"x-amz-{name}"
    for name in ("algorithm", "credential", "date", "expires", "signedheaders", "signature", "security-token")
    + ("content-sha256", "sdk-checksum-algorithm")
)
#: The checksum of no bytes: the SDK for JavaScript signs it into the URL of a PUT whose body it does not have yet.
_OF_NOTHING = ("x-amz-checksum-crc32", "AAAAAA==")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_TEXT = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")


def check_arguments(method: str, headers: Headers, query: Mapping[str, str]) -> None:
    """That nothing is asked for that is not known here. (A read may say more than its name: libcloud does, and in the
    URL of a page it may be anything, for caches.)

    :raises NotSupported:
    """
    is_read = method in ("GET", "HEAD")
    if query and not (is_read and "authorization" not in headers):
        for name, value in query.items():
            if name not in _ARGUMENTS and name[:2].lower() != "x-" and not (is_read and value):
                raise NotSupported(f"{name[:80]} is not supported here.")
    check_headers(headers)


def check_headers(names: Iterable[str]) -> None:
    """:raises NotSupported:"""
    for name in names:
        if name.startswith(_NOT_DONE):
            raise NotSupported(f"{name} is not supported here.")


def with_signed_arguments(headers: Headers, query: Mapping[str, str]) -> Headers:
    """And what a query that is signed by version 4 says in place of headers, as SDKs put it there."""
    found = {
        name.lower(): value
        for name, value in query.items()
        if name[:6].lower() == "x-amz-" and name.lower() not in _OF_SIGNATURES
    }
    if found.get(_OF_NOTHING[0]) == _OF_NOTHING[1]:
        del found[_OF_NOTHING[0]]
    return Headers(headers_with(found).raw | headers.raw) if found else headers


def headers_with(values: Mapping[str, str]) -> Headers:
    """Those that *values* stand for. :raises InvalidRequest: if one of them cannot stand in a header."""
    for name, value in values.items():
        if not (_TOKEN.fullmatch(name) and _TEXT.fullmatch(value)):
            raise InvalidRequest(f"The value of {name[:80]!r} cannot stand in a header.")
    return Headers({name: value.encode() for name, value in values.items()})


class S3Request(NamedTuple):
    """Its *query* has the names and values, decoded. *body*: as it comes."""

    exchange: Exchange
    headers: Headers
    query: Mapping[str, str]
    signed: Signed
    bucket: str
    key: str
    body: Incoming
    is_in_host: bool = False  #: that host name is the bucket's, and a site of its own

    @property
    def user(self) -> User:
        return self.signed.user

    @property
    def account(self) -> int:
        return self.signed.user.account

    @property
    def version(self) -> str | None:
        """Of the object that is asked for: "" for the null version; None: the one that is there."""
        given = self.query.get("versionId")
        return given if given != NULL else ""

    def number(self, name: str, most: int, default: int) -> int:
        """:raises S3Error: if it is none from 0 to *most*. (A greater one counts as that.)"""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise S3Error("InvalidArgument", f"{name} is a number.")
        return min(int(text), most)


def answer(status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, lines_of(headers or {}))


def xml_answer(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(200, lines_of({"Content-Type": "application/xml", **(headers or {})}), body)
