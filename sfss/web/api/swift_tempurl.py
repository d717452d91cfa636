"""Temporary URLs of Swift: who has one may do with an object what it is for, for a while, without a token.

Source: https://docs.openstack.org/swift/latest/api/temporary_url_middleware.html.
"""

import base64
import binascii
import hmac
import ipaddress
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote

from sfss.errors import InvalidRequest, NotFound, SwiftUnauthorized
from sfss.http.messages import Request
from sfss.objects.catalog import Catalog
from sfss.objects.models import Metadata
from sfss.web.query import argument

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
#: What else a signature may be for, by what is asked.
_ALSO = {"HEAD": ("GET", "PUT", "POST")}
DIGESTS = {40: "sha1", 64: "sha256", 128: "sha512"}  # by their hex digits
_KEYS = ("Temp-Url-Key", "Temp-Url-Key-2")
#: What would touch other objects.
_OF_OTHERS = ("multipart-manifest", "bulk-delete", "extract-archive")
_SECONDS = re.compile("[0-9]{1,12}")
_INVALID = "The temporary URL is not valid."


class Opened(NamedTuple):
    """What a temporary URL is good for."""

    account: int
    container: str  #: whose objects may be read; "": all of the account
    disposition: str  #: of the answer, as the URL has it; "": it does not say
    otherwise: str  #: that of an object that has none
    expires: int  #: seconds since the epoch


def is_temporary(query: str) -> bool:
    return "temp_url_sig=" in query


async def opened(
    catalog: Catalog, account: int | None, request: Request, place: tuple[str, str, str], address: str
) -> Opened:
    """What the URL of *request* opens. *place*: the names of account, container and object; *address*: the client's.

    :raises SwiftUnauthorized: if it does not hold. :raises InvalidRequest:
    """
    query, method = request.query, request.method
    account_name, container, name = place
    signature, until = argument(query, "temp_url_sig") or "", argument(query, "temp_url_expires") or ""
    prefix, network = argument(query, "temp_url_prefix"), argument(query, "temp_url_ip_range")
    if account is None or not name or method not in METHODS:
        raise SwiftUnauthorized(_INVALID)
    if "x-copy-from" in request.headers or any(argument(query, each) is not None for each in _OF_OTHERS):
        raise InvalidRequest("A temporary URL is for one object, and its own bytes.")
    expires = _seconds(until)
    if expires <= time.time():
        raise SwiftUnauthorized("The temporary URL has expired.")
    if prefix is not None and not name.startswith(prefix):
        raise SwiftUnauthorized(_INVALID)
    if network is not None and not _is_in(address, network):
        raise SwiftUnauthorized("The temporary URL is not for this address.")
    digest, expected = _taken_apart(signature)
    what = f"/v1/{account_name}/{container}/{name if prefix is None else prefix}"
    path = what if prefix is None else f"prefix:{what}"
    first = "" if network is None else f"ip={network}\n"
    texts = [f"{first}{each}\n{expires}\n{path}".encode() for each in (method, *_ALSO.get(method, ()))]
    scope = await _scope(catalog, account, container, digest, expected, texts)
    if scope is None:
        raise SwiftUnauthorized(_INVALID)
    if method in ("PUT", "POST") and "x-object-manifest" in request.headers:
        raise InvalidRequest("X-Object-Manifest cannot be put by a temporary URL.")
    otherwise = _disposition("attachment", name.rstrip("/").rpartition("/")[2])
    return Opened(account, scope, _asked_disposition(query), otherwise, expires)


async def _scope(
    catalog: Catalog, account: int, container: str, digest: str, expected: bytes, texts: list[bytes]
) -> str | None:
    """Whose key has signed: "" for the account's, the container's name for its own. None: nobody's."""
    found: list[tuple[str, Metadata]] = [("", (await catalog.account(account)).metadata)]
    try:
        found.append((container, (await catalog.container(account, container)).metadata))
    except NotFound:
        pass  # a key of the account may still say so to its owner
    for scope, metadata in found:
        for key in _keys(metadata, "Container" if scope else "Account"):
            if any(hmac.compare_digest(hmac.digest(key, text, digest), expected) for text in texts):
                return scope
    return None


def _keys(metadata: Metadata, kind: str) -> list[bytes]:
    texts = [metadata.get(f"X-{kind}-Meta-{name}", "") for name in _KEYS]
    return [text.encode() for text in texts if text]


def _taken_apart(signature: str) -> tuple[str, bytes]:
    """The digest, and its bytes. (``sha256:BASE64`` as well as hex digits.) :raises SwiftUnauthorized:"""
    name, colon, encoded = signature.partition(":")
    try:
        if not colon:
            return DIGESTS[len(signature)], bytes.fromhex(signature)
        if name in DIGESTS.values():
            return name, base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (KeyError, ValueError, binascii.Error):
        pass  # it is none, like any other
    raise SwiftUnauthorized(_INVALID)


def _seconds(text: str) -> int:
    """Seconds since the epoch, or a time by ISO 8601. :raises SwiftUnauthorized:"""
    if _SECONDS.fullmatch(text):
        return int(text)
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise SwiftUnauthorized(_INVALID)


def _is_in(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _asked_disposition(query: str) -> str:
    """What the URL says of it; "": nothing."""
    is_inline = argument(query, "inline") is not None
    if file := argument(query, "filename"):
        return _disposition("inline" if is_inline else "attachment", file)
    return "inline" if is_inline else ""


def _disposition(kind: str, file: str) -> str:
    """*kind*, and the name of the *file* that it is to be kept as."""
    plain = file.replace("\\", "").replace('"', "'").replace("\r", "").replace("\n", "")
    ascii_name = plain.encode("ascii", "replace").decode()
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(plain, safe='')}"


def shown(lines: Mapping[str, str], opened: Opened) -> dict[str, str]:
    """The headers of an answer to somebody who has only the URL: of the metadata, what is called public; and what it
    is to be kept as: as the URL says, else the object, else as a file of its name. No cache has it longer than he.
    """
    kept = {
        name: value
        for name, value in lines.items()
        if not name.startswith("X-Object-Meta-") or name.startswith("X-Object-Meta-Public-")
    }
    own = kept.get("Content-Disposition", "")
    kept["Content-Disposition"] = opened.disposition or own or opened.otherwise
    return kept | {"Expires": formatdate(opened.expires, usegmt=True)}
