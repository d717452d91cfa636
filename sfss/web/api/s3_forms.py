"""Forms by which browsers put objects: a policy that somebody has signed says what they may.

The file is the last field, and is read piece by piece. Sources:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html and its neighbours.
"""

import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sfss.errors import FileTooLarge, Forbidden, InvalidRequest
from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Request, Response
from sfss.objects.limits import MAX_OBJECT_SIZE
from sfss.objects.service import Objects
from sfss.objects.users import Users
from sfss.web.api.object_headers import CHECKSUM
from sfss.web.api.own_url import OwnUrl
from sfss.web.api.s3_body import Body
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_objects import check_storage_class, content_type_in, metadata_in, properties_in
from sfss.web.api.s3_request import answer, check_headers, headers_with, xml_answer
from sfss.web.api.s3_signature import scope_in, signing_key_of
from sfss.web.api.s3_tags import TAGS, tags_in
from sfss.web.api.s3_xml import document
from sfss.web.forms import parameters_of
from sfss.web.streams import Incoming

#: The fields before the file, their heads included, take no more. Bytes.
_MOST_FIELDS = 64 * 1024
#: What the policy need not name.
_FREE = frozenset(("policy", "file", "x-amz-signature", "awsaccesskeyid", "signature"))
#: Fields that say what a header of another name would.
_OTHERWISE = {"acl": "x-amz-acl"}


def is_form(request: Request) -> bool:
    content_type = request.headers.get("content-type")
    return request.method == "POST" and content_type.lower().startswith("multipart/form-data")


class Forms:
    def __init__(self, objects: Objects, users: Users, url: OwnUrl):
        self._url = url
        self._objects = objects
        self._users = users

    async def post(self, exchange: Exchange, body: Incoming, bucket: str) -> Response:
        """:raises S3Error: :raises Forbidden: if the policy does not allow it."""
        _, parameters = parameters_of(exchange.headers.get("content-type"))
        form = _Form(body, parameters.get("boundary", ""))
        fields, file_name = await form.fields()
        if "policy" not in fields:
            raise S3Error("AccessDenied", "This is not for everybody: the form needs a policy.", 403)
        account = await self._signer(fields)
        key = fields.get("key", "").replace("${filename}", file_name)
        fields["key"], fields["bucket"] = key, bucket
        least, most = _check_policy(fields)
        named = {_OTHERWISE.get(name, name): value for name, value in fields.items()}
        check_headers(fields)
        headers = headers_with({name: value for name, value in named.items() if _is_header(name)})
        properties = dict(properties_in(headers))
        if "tagging" in fields:
            properties[TAGS] = tags_in(fields["tagging"].encode())
        check_storage_class(headers)
        metadata = metadata_in(headers)
        sums = Headers({name: fields[name].encode() for name in fields if name.startswith(CHECKSUM)})
        content = Body(sums, None, _limited(form.file(), least, most), None, metadata)
        info = await self._objects.put(
            account,
            bucket,
            key,
            content,
            content_type=content_type_in(headers),
            metadata=metadata,
            properties=properties,
        )
        etag = f'"{info.etag}"'
        location = f"{self._url.asked(exchange)}{exchange.path.rstrip('/')}/{quote(key)}"
        told = {"ETag": etag, "Location": location}
        target = fields.get("success_action_redirect", "") or fields.get("redirect", "")
        if target.startswith(("http://", "https://")):
            mark = "&" if "?" in target else "?"
            where = f"{target}{mark}bucket={quote(bucket)}&key={quote(key, safe='')}&etag={quote(etag)}"
            return answer(303, told | {"Location": where})
        status = fields.get("success_action_status", "204")
        if status == "201":
            elements = [("Location", location), ("Bucket", bucket), ("Key", key), ("ETag", etag)]
            response = xml_answer(document("PostResponse", elements), told)
            response.status = 201
            return response
        return answer(200 if status == "200" else 204, told)

    async def _signer(self, fields: Mapping[str, str]) -> int:
        """The account whose user has signed the policy. :raises S3Error:"""
        policy = fields["policy"].encode()
        if "x-amz-signature" in fields:
            if fields.get("x-amz-algorithm") != "AWS4-HMAC-SHA256":
                raise S3Error("InvalidArgument", "x-amz-algorithm is AWS4-HMAC-SHA256.")
            access_key, scope = scope_in(fields.get("x-amz-credential", ""))
            if not scope:
                raise S3Error("InvalidArgument", "x-amz-credential is not KEY/DATE/REGION/s3/aws4_request.")
        else:
            access_key, scope = fields.get("awsaccesskeyid", ""), ""
        for fresh in (False, True):
            user = await self._users.find(access_key, fresh=fresh)
            if user is None or user.disabled:
                continue
            if scope:
                expected = hmac.digest(signing_key_of(user.key, scope), policy, "sha256").hex()
                given = fields["x-amz-signature"]
            else:
                expected = base64.b64encode(hmac.digest(user.key.encode(), policy, "sha1")).decode()
                given = fields.get("signature", "")
            if hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
                if user.read_only:
                    raise Forbidden("This user may only read.")
                return user.account
        raise S3Error("SignatureDoesNotMatch", "The signature of the policy does not match.", 403)


def _is_header(name: str) -> bool:
    """Whether a field says what a header of a PUT would."""
    own = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control")
    return (
        name in (*own, "expires", "x-amz-tagging", "x-amz-storage-class")
        or name.startswith("x-amz-meta-")
        or name == "x-amz-acl"
    )


def _check_policy(fields: dict[str, str]) -> tuple[int, int]:
    """How many bytes the file may have, if all that *fields* say is allowed. :raises S3Error:"""
    try:
        policy: Any = json.loads(base64.b64decode(fields["policy"], validate=True))
        expires = datetime.fromisoformat(policy["expiration"])
        conditions = list(policy["conditions"])
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise S3Error(
            "InvalidPolicyDocument", "The policy is no document with expiration and conditions."
        ) from None
    if (expires if expires.tzinfo else expires.replace(tzinfo=UTC)) <= datetime.now(UTC):
        raise S3Error("AccessDenied", "The policy has expired.", 403)
    named: set[str] = set()
    least, most = 0, MAX_OBJECT_SIZE
    for condition in conditions:
        name, holds = "", False
        if isinstance(condition, dict) and len(condition) == 1:
            ((name, value),) = condition.items()
            name = str(name).lower()
            holds = fields.get(name) == value
        elif isinstance(condition, list) and len(condition) == 3:
            kind, first, second = condition
            if kind == "content-length-range":
                if not (isinstance(first, int) and isinstance(second, int)):
                    raise S3Error("InvalidPolicyDocument", "content-length-range has two numbers.")
                least, most = max(least, first), min(most, second)
                continue
            name = str(first).removeprefix("$").lower()
            found = fields.get(name)
            if kind == "eq":
                holds = found == second
            elif kind == "starts-with":
                parts = found.split(",") if found is not None and name == "content-type" else [found]
                holds = all(part is not None and part.startswith(str(second)) for part in parts)
        if not holds:
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {name[:100]}", 403
            )
        named.add(name)
    for name in fields:
        if name not in named and name not in _FREE and name != "bucket" and not name.startswith("x-ignore-"):
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Extra input fields: {name[:100]}", 403
            )
    if "bucket" not in named:
        raise S3Error("AccessDenied", "Invalid according to Policy: it names no bucket.", 403)
    return least, most


async def _limited(content: AsyncIterator[bytes], least: int, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for data in content:
        size += len(data)
        if size > most:
            raise FileTooLarge(f"The policy allows at most {most} bytes.")
        yield data
    if size < least:
        raise S3Error("EntityTooSmall", f"The policy wants at least {least} bytes.")


class _Form:
    """A form (RFC 7578), read piece by piece: fields of text, then the file."""

    def __init__(self, body: AsyncIterator[bytes], boundary: str):
        if not boundary or len(boundary) > 200 or not boundary.isascii():
            raise InvalidRequest("The form has no valid boundary in its Content-Type.")
        self._body = body
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = b"\r\n"  # the first delimiter may stand at the very beginning

    async def fields(self) -> tuple[dict[str, str], str]:
        """Those before the file, by their names in lower case, and the file's name. Its bytes come next."""
        found: dict[str, str] = {}
        used = len(await self._up_to(self._delimiter, _MOST_FIELDS))
        while True:
            line = await self._up_to(b"\r\n", 1024)
            if line.strip() == b"--":
                raise S3Error(
                    "InvalidArgument", "The form has no file: it is the last field, and called 'file'."
                )
            head = await self._up_to(b"\r\n\r\n", _MOST_FIELDS - used)
            name, file_name = _named(head)
            if name == "file":
                return found, file_name
            value = await self._up_to(self._delimiter, _MOST_FIELDS - used)
            used += len(head) + len(value)
            try:
                text = value.decode()
            except UnicodeError:
                raise InvalidRequest("A field of the form is not valid UTF-8.") from None
            if found.setdefault(name, text) is not text:
                raise InvalidRequest(f"The field {name[:100]!r} is repeated.")

    async def _up_to(self, mark: bytes, most: int) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > most or not await self._more():
                raise S3Error("MalformedPOSTRequest", "The form is cut off, or its fields are too long.")
        if end > most:
            raise S3Error("MalformedPOSTRequest", "The fields of the form are too long.")
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    async def _more(self) -> bool:
        data = await anext(self._body, b"")
        self._buffer += data
        return bool(data)

    async def file(self) -> AsyncIterator[bytes]:
        kept = len(self._delimiter) - 1  # which may be the beginning of the end
        while (end := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > kept:
                yield self._buffer[:-kept]
                self._buffer = self._buffer[-kept:]
            if not await self._more():
                raise S3Error("MalformedPOSTRequest", "The form is cut off.")
        yield self._buffer[:end]
        self._buffer = self._buffer[end + len(self._delimiter) :]
        while await self._more():  # what comes behind the file is of no interest
            self._buffer = b""


def _named(head: bytes) -> tuple[str, str]:
    """The name of a field, and of the file in it."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            _, parameters = parameters_of(value)
            file_name = parameters.get("filename", "").replace("\\", "/").rpartition("/")[2]
            return parameters.get("name", "").lower(), file_name
    raise InvalidRequest("A part of the form has no Content-Disposition.")
