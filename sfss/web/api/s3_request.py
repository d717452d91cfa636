"""A request of S3's API, taken apart."""

from collections.abc import Mapping
from typing import NamedTuple

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
