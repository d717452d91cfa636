"""Signatures of S3: version 4 in a header and in the query, version 2 in the query.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote, unquote_plus

from sfss.http.messages import Headers, Request
from sfss.objects.models import User
from sfss.web.api.s3_errors import S3Error

_ALGORITHM = "AWS4-HMAC-SHA256"
#: What a URL that is made here says; any is good.
_REGION = "us-east-1"
#: Clocks may be so far apart (seconds), and a presigned URL is good for so long at the most.
_SKEW, MOST_EXPIRES = 15 * 60, 7 * 86400
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<credential>[^,\s]+),\s*SignedHeaders=(?P<headers>[^,\s]+),"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
#: A path that is encoded as it is.
_PLAIN = re.compile("[A-Za-z0-9/_.~-]*")
_SECONDS = re.compile("[0-9]{1,12}")
#: The bodies that say how they are signed themselves, or are not.
UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_EMPTY = hashlib.sha256(b"").hexdigest()
#: What of the query is a part of what version 2 signs.
_V2_PARTS = frozenset(
    ("acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy")
    + ("requestPayment", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions")
    + ("website", "response-content-type", "response-content-language", "response-expires")
    + ("response-cache-control", "response-content-disposition", "response-content-encoding")
)

#: Signing keys that are remembered: each is good for a day, a region, and one secret.
_MOST_KEYS = 1000


class FindsUsers(Protocol):
    async def find(self, key: str, *, fresh: bool = False) -> User | None:
        """*key*: the access key that was made for a user, or ``ACCOUNT:USER``."""


#: What may be wrong with a signature because its user has another key now.
_OF_KEYS = ("SignatureDoesNotMatch", "InvalidAccessKeyId")


class Signed(NamedTuple):
    """Who has signed a request, and what he says of its body."""

    user: User
    payload: str  #: its SHA-256 in hex digits, or one of the words above
    chunks: "ChunkSigner | None" = None  #: of chunks that are signed


#: What a request says of who has signed it: an access key, and what checks the signature with the key of that user.
#: That one raises S3Error.
Claim = tuple[str, Callable[[User], Signed]]


class ChunkSigner:
    """The signatures of the chunks of a body, each over the one before it."""

    def __init__(self, key: bytes, scope: str, when: str, seed: str):
        self._key = key
        self._scope = scope
        self._when = when
        self._before = seed

    def check(self, signature: str, sha256: str) -> None:
        """:raises S3Error:"""
        lines = (f"{_ALGORITHM}-PAYLOAD", self._when, self._scope, self._before, _EMPTY, sha256)
        self._settle(lines, signature)

    def check_trailer(self, signature: str, trailer: bytes) -> None:
        """:raises S3Error:"""
        sha256 = hashlib.sha256(trailer).hexdigest()
        self._settle((f"{_ALGORITHM}-TRAILER", self._when, self._scope, self._before, sha256), signature)

    def _settle(self, lines: Iterable[str], signature: str) -> None:
        expected = hmac.digest(self._key, "\n".join(lines).encode(), "sha256").hex()
        if not hmac.compare_digest(expected, signature):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.", 403)
        self._before = expected


def is_signed(request: Request) -> bool:
    """Whether this is a request of S3 that somebody has signed."""
    if not request.query and "authorization" not in request.headers:
        return False
    authorization = request.headers.get("authorization")
    if authorization.startswith(("AWS4-", "AWS ")):
        return True
    names = {part.partition("=")[0] for part in request.query.split("&")}
    return "X-Amz-Algorithm" in names or ("AWSAccessKeyId" in names and "Signature" in names)


async def check(request: Request, users: FindsUsers, bucket_in_host: str) -> Signed:
    """*bucket_in_host*: that the Host header names, "" if it names none. :raises S3Error:"""

    access_key, check_with = _claim_of(request, bucket_in_host)
    try:
        return check_with(_usable(await users.find(access_key)))
    except S3Error as error:
        if error.code not in _OF_KEYS:
            raise
    # What is remembered of him may be old.
    return check_with(_usable(await users.find(access_key, fresh=True)))


def _claim_of(request: Request, bucket_in_host: str) -> Claim:
    """:raises S3Error: if there can be no user with whose key it holds."""
    authorization = request.headers.get("authorization")
    if authorization.startswith("AWS4-"):
        return _in_header(request, authorization)
    if authorization.startswith("AWS "):
        raise S3Error(
            "InvalidRequest", "Signatures of version 2 are known in URLs only: sign with version 4."
        )
    pairs = _pairs(request.query)
    if any(name == "X-Amz-Algorithm" for name, _ in pairs):
        return _in_query(request, pairs)
    return _of_version_2(request, pairs, bucket_in_host)


def _in_header(request: Request, authorization: str) -> Claim:
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise S3Error("AuthorizationHeaderMalformed", "The Authorization header is malformed.")
    headers = request.headers
    when = headers.get("x-amz-date").strip() or _basic(headers.get("date").strip())
    payload = headers.get("x-amz-content-sha256").strip()
    if not payload:
        raise S3Error("InvalidRequest", "x-amz-content-sha256 is missing.")
    if abs(time.time() - _seconds(when)) > _SKEW:
        raise S3Error("RequestTimeTooSkewed", "The clocks of client and server are too far apart.", 403)
    names = match["headers"].split(";")
    if "host" not in names or any(name.startswith("x-amz-") and name not in names for name in headers):
        raise S3Error("AccessDenied", "Host, and all x-amz- headers, have to be signed.", 403)
    access_key, scope = _of_day(match["credential"], when)
    canonical = _canonical(request, _pairs(request.query), names, payload)
    signature = match["signature"]

    def check_with(user: User) -> Signed:
        key = signing_key_of(user.key, scope)
        _compare(key, when, scope, canonical, signature)
        chunks = ChunkSigner(key, scope, when, signature) if payload in SIGNED_CHUNKS else None
        return Signed(user, payload, chunks)

    return access_key, check_with


def _in_query(request: Request, pairs: list[tuple[str, str]]) -> Claim:
    given = dict(pairs)
    if given.get("X-Amz-Algorithm") != _ALGORITHM:
        raise S3Error("AuthorizationQueryParametersError", f"X-Amz-Algorithm is {_ALGORITHM}.")
    when, expires = given.get("X-Amz-Date", ""), given.get("X-Amz-Expires", "")
    if not (_SECONDS.fullmatch(expires) and 0 < int(expires) <= MOST_EXPIRES):
        raise S3Error("AuthorizationQueryParametersError", "X-Amz-Expires is 1 to 604800 seconds.")
    begin = _seconds(when)
    now = time.time()
    if now > begin + int(expires):
        raise S3Error("AccessDenied", "Request has expired.", 403)
    if now < begin - _SKEW:
        raise S3Error("RequestTimeTooSkewed", "The clocks of client and server are too far apart.", 403)
    access_key, scope = _of_day(given.get("X-Amz-Credential", ""), when)
    names = given.get("X-Amz-SignedHeaders", "").split(";")
    if "host" not in names or any(_changes_it(name) and name not in names for name in request.headers):
        raise S3Error("AccessDenied", "Host, and all x-amz- headers, have to be signed.", 403)
    signed = [(name, value) for name, value in pairs if name != "X-Amz-Signature"]
    payload = request.headers.get("x-amz-content-sha256").strip() or UNSIGNED
    if "x-amz-content-sha256" not in names:
        payload = UNSIGNED
    canonical = _canonical(request, signed, names, payload)

    def check_with(user: User) -> Signed:
        _compare(signing_key_of(user.key, scope), when, scope, canonical, given.get("X-Amz-Signature", ""))
        return Signed(user, payload)

    return access_key, check_with


def presigned(user: User, method: str, host: str, path: str, lifetime: int) -> tuple[str, int]:
    """A URL (without scheme and host) that lets do for *lifetime* seconds what *user* may, and until when that is.

    *host*: as the Host header will have it. *path*: percent-encoded.
    """
    now = int(time.time())
    when = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{when[:8]}/{_REGION}/s3/aws4_request"
    pairs = [
        ("X-Amz-Algorithm", _ALGORITHM),
        ("X-Amz-Credential", f"{user.full_name}/{scope}"),
        ("X-Amz-Date", when),
        ("X-Amz-Expires", str(lifetime)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    asked = Request.of(method, path, Headers({"host": host.encode("utf-8", "surrogateescape")}))
    signature = _signature(
        signing_key_of(user.key, scope), when, scope, _canonical(asked, pairs, ["host"], UNSIGNED)
    )
    query = "&".join(f"{name}={_quoted(value)}" for name, value in [*pairs, ("X-Amz-Signature", signature)])
    return f"{path}?{query}", now + lifetime


def _changes_it(name: str) -> bool:
    """Whether a header says what is to be done. (The body's hash says nothing that the URL does not.)"""
    return name.startswith("x-amz-") and name != "x-amz-content-sha256"


def _of_day(credential: str, when: str) -> tuple[str, str]:
    """The access key, and the scope of the signature. :raises S3Error: if that is not of the day of *when*."""
    access_key, scope = scope_in(credential)
    if not scope or not scope.startswith(f"{when[:8]}/"):
        raise S3Error(
            "AuthorizationHeaderMalformed", "The credential is not KEY/DATE/REGION/s3/aws4_request."
        )
    return access_key, scope


def scope_in(credential: str) -> tuple[str, str]:
    """The access key, and the scope; "" if it has none that is for S3."""
    access_key, *rest = credential.rsplit("/", 4)
    is_one = len(rest) == 4 and rest[2:] == ["s3", "aws4_request"]
    return access_key, "/".join(rest) if is_one else ""


@lru_cache(maxsize=_MOST_KEYS)
def signing_key_of(secret: str, scope: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _usable(user: User | None) -> User:
    if user is None or user.disabled or not user.key:
        raise S3Error("InvalidAccessKeyId", "There is no such access key.", 403)
    return user


def _canonical(request: Request, pairs: list[tuple[str, str]], names: list[str], payload: str) -> str:
    path = request.path
    if not _PLAIN.fullmatch(path):
        path = quote(unquote(path, errors="surrogateescape"), safe="/-_.~", errors="surrogateescape")
    encoded = sorted((_quoted(name), _quoted(value)) for name, value in pairs)
    query = "&".join(f"{name}={value}" for name, value in encoded)
    lines = [f"{name}:{' '.join(request.headers.get(name).split())}" for name in names]
    return "\n".join([request.method, path, query, *lines, "", ";".join(names), payload])


def _signature(key: bytes, when: str, scope: str, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    text = f"{_ALGORITHM}\n{when}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def _compare(key: bytes, when: str, scope: str, canonical: str, signature: str) -> None:
    expected = _signature(key, when, scope, canonical)
    if not hmac.compare_digest(expected, signature.encode("ascii", "replace").decode()):
        raise S3Error("SignatureDoesNotMatch", "The signature does not match: is the secret right?", 403)


def _of_version_2(request: Request, pairs: list[tuple[str, str]], bucket_in_host: str) -> Claim:
    given = dict(pairs)
    expires = given.get("Expires", "")
    if not _SECONDS.fullmatch(expires):
        raise S3Error("AccessDenied", "Expires is a time in seconds.", 403)
    if time.time() > int(expires):
        raise S3Error("AccessDenied", "Request has expired.", 403)
    headers = request.headers
    amz = sorted(name for name in headers if name.startswith("x-amz-"))
    parts = sorted((name, value) for name, value in pairs if name in _V2_PARTS)
    resource = (f"/{bucket_in_host}" if bucket_in_host else "") + request.path
    query = "?" + "&".join(f"{name}={value}" if value else name for name, value in parts) if parts else ""
    resources = [resource + query]
    if resource.count("/") == 1 and len(resource) > 1:
        resources.append(f"{resource}/{query}")  # so boto signs a bucket, whatever its URL has
    lines = [request.method, headers.get("content-md5").strip(), headers.get("content-type").strip(), expires]
    lines += [f"{name}:{headers.get(name).strip()}" for name in amz]
    texts = ["\n".join([*lines, each]).encode("utf-8", "surrogateescape") for each in resources]
    signature = given.get("Signature", "").encode("utf-8", "surrogateescape")

    def check_with(user: User) -> Signed:
        expected = [base64.b64encode(hmac.digest(user.key.encode(), text, "sha1")) for text in texts]
        if not any(hmac.compare_digest(each, signature) for each in expected):
            raise S3Error("SignatureDoesNotMatch", "The signature does not match: is the secret right?", 403)
        return Signed(user, UNSIGNED)

    return given["AWSAccessKeyId"], check_with


def _pairs(query: str) -> list[tuple[str, str]]:
    """Names and values, decoded."""
    found = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.append((_decoded(name), _decoded(value)))
    return found


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _basic(date: str) -> str:
    """A ``Date`` as ``X-Amz-Date`` has it. :raises S3Error: if it is none."""
    if _TIME.fullmatch(date):
        return date
    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, TypeError, OverflowError):
        raise S3Error("AccessDenied", "A signed request has X-Amz-Date, or a Date.", 403) from None


@lru_cache(maxsize=64)
def _seconds(when: str) -> float:
    """:raises S3Error: if that is no time."""
    if not _TIME.fullmatch(when):
        raise S3Error("AccessDenied", "X-Amz-Date is no time of the form 20261126T120000Z.", 403)
    day, second = when[:8], when[9:15]
    try:
        parts = [int(text) for text in (day[:4], day[4:6], day[6:], second[:2], second[2:4], second[4:])]
        return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]
    except ValueError:
        raise S3Error("AccessDenied", "X-Amz-Date is no time.", 403) from None
