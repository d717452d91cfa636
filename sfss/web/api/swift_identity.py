"""Who asks: tokens of Swift, for a key (v1) or a password (v2.0 and v3 of Keystone's API, what clients need of it)."""

import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from sfss.errors import Forbidden, InvalidRequest, Unauthorized
from sfss.http.messages import Headers
from sfss.objects.catalog import Catalog
from sfss.objects.manifests import is_utf8
from sfss.objects.models import User
from sfss.objects.tokens import make_token, read_token
from sfss.web.api.status import fresh
from sfss.web.api.streaming import whole

#: A request for a token has no more than that. Bytes.
_MOST = 64 * 1024
_BODY_TIMEOUT = 10.0
_REGION = "RegionOne"


class SwiftUnauthorized(Unauthorized):
    challenge = 'Swift realm="sfss"'


class Identity:
    """Of the users of *catalog*. *url*: where clients reach this service; "" for where they ask."""

    def __init__(self, catalog: Catalog, *, url: str, lifetime: float, is_tls: bool):
        self._catalog = catalog
        self._url = url.rstrip("/")
        self._lifetime = lifetime
        self._scheme = "https" if is_tls else "http"
        self._secret = b""

    async def start(self) -> None:
        self._secret = await self._catalog.secret()

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(path, self.v1) for path in ("/auth", "/auth/v1.0", "/auth/v1", "/v1.0")),
            web.get("/", self.versions),
            *(web.get(path, self.v2_version) for path in ("/v2.0", "/v2.0/")),
            web.post("/v2.0/tokens", self.v2),
            *(web.get(path, self.v3_version) for path in ("/v3", "/v3/")),
            web.post("/v3/auth/tokens", self.v3),
        ]

    async def user_of(self, headers: Headers) -> User | None:
        """Whose token the request has; None: it has none. :raises Unauthorized: if that is not good."""
        text = headers.get("x-auth-token") or headers.get("x-storage-token")
        if not text:
            return None
        token = read_token(self._secret, text.strip())
        user = await self._catalog.user(token.account, token.user) if token is not None else None
        if token is None or user is None or user.disabled or user.generation != token.generation:
            raise SwiftUnauthorized("The token is not valid, or not any more: ask for a new one.")
        return user

    # The ways to get one.

    async def v1(self, request: web.Request) -> web.Response:
        headers = request.headers
        name = headers.get("X-Auth-User") or headers.get("X-Storage-User") or ""
        key = headers.get("X-Auth-Key") or headers.get("X-Storage-Pass") or ""
        user = await self._checked(*name.partition(":")[::2], key)
        token, expires = self._token(user)
        response = fresh(b"", "text/plain")
        response.headers.update(
            {
                "X-Storage-Url": self._storage_url(request, user.account_name),
                "X-Auth-Token": token,
                "X-Storage-Token": token,
                "X-Auth-Token-Expires": str(int(expires - time.time())),
            }
        )
        return response

    async def v2(self, request: web.Request) -> web.Response:
        auth = _inner(await _document(request), "auth")
        given = _inner(auth, "passwordCredentials")
        account = auth.get("tenantName") or auth.get("tenantId") or ""
        user = await self._checked(*_split(account, given.get("username")), given.get("password"))
        token, expires = self._token(user)
        url = self._storage_url(request, user.account_name)
        endpoint = {"region": _REGION, "publicURL": url, "internalURL": url, "adminURL": url}
        answer = {
            "access": {
                "token": {
                    "id": token,
                    "expires": _time(expires),
                    "tenant": {"id": user.account_name, "name": user.account_name, "enabled": True},
                },
                "serviceCatalog": [
                    {"type": "object-store", "name": "swift", "endpoints": [endpoint], "endpoints_links": []}
                ],
                "user": {"id": user.full_name, "name": user.name, "roles": [{"name": "member"}]},
            }
        }
        return fresh(json.dumps(answer), "application/json")

    async def v3(self, request: web.Request) -> web.Response:
        auth = _inner(await _document(request), "auth")
        given = _inner(_inner(_inner(auth, "identity"), "password"), "user")
        scope = auth.get("scope")
        project = _inner(scope, "project") if isinstance(scope, Mapping) and "project" in scope else {}
        account = project.get("name") or project.get("id") or ""
        name = given.get("name") or given.get("id")
        user = await self._checked(*_split(account, name), given.get("password"))
        token, expires = self._token(user)
        domain = {"id": "default", "name": "Default"}
        url = self._storage_url(request, user.account_name)
        endpoints = [
            {"id": interface, "interface": interface, "region": _REGION, "region_id": _REGION, "url": url}
            for interface in ("public", "internal", "admin")
        ]
        answer = {
            "token": {
                "methods": ["password"],
                "issued_at": _time(int(time.time())),
                "expires_at": _time(expires),
                "user": {"id": user.full_name, "name": user.name, "domain": domain},
                "project": {"id": user.account_name, "name": user.account_name, "domain": domain},
                "roles": [{"id": "member", "name": "member"}],
                "catalog": [{"type": "object-store", "name": "swift", "id": "swift", "endpoints": endpoints}],
            }
        }
        response = fresh(json.dumps(answer), "application/json")
        response.set_status(201)
        response.headers["X-Subject-Token"] = token
        return response

    # What clients ask first, to find the others.

    async def versions(self, request: web.Request) -> web.Response:
        base = self._base(request)
        values = [_version("v3.14", f"{base}/v3/"), _version("v2.0", f"{base}/v2.0/")]
        response = fresh(json.dumps({"versions": {"values": values}}), "application/json")
        response.set_status(300)
        return response

    async def v2_version(self, request: web.Request) -> web.Response:
        document = {"version": _version("v2.0", f"{self._base(request)}/v2.0/")}
        return fresh(json.dumps(document), "application/json")

    async def v3_version(self, request: web.Request) -> web.Response:
        document = {"version": _version("v3.14", f"{self._base(request)}/v3/")}
        return fresh(json.dumps(document), "application/json")

    async def _checked(self, account: str, name: str, key: object) -> User:
        """:raises Unauthorized:"""
        offered = key if isinstance(key, str) else ""
        if not all(is_utf8(text) for text in (account, name, offered)):
            raise SwiftUnauthorized("There is no such user, or its key is another one.")
        user = await self._catalog.user(account, name)
        known = user.key if user is not None else ""
        is_right = hmac.compare_digest(known.encode(), offered.encode())
        if user is None or not is_right or not known:
            raise SwiftUnauthorized("There is no such user, or its key is another one.")
        if user.disabled:
            raise Forbidden("The user is disabled.")
        return user

    def _token(self, user: User) -> tuple[str, int]:
        return make_token(self._secret, user, self._lifetime)

    def _base(self, request: web.Request) -> str:
        return self._url or f"{self._scheme}://{request.host}"

    def _storage_url(self, request: web.Request, account: str) -> str:
        return f"{self._base(request)}/v1/AUTH_{quote(account, safe='')}"


def _split(account: object, name: object) -> tuple[str, str]:
    """The account and the user: ``ACCOUNT:USER`` says both."""
    if not isinstance(account, str) or not isinstance(name, str):
        return "", ""
    before, colon, after = name.partition(":")
    if colon and account in ("", before):
        return before, after
    return account, name


def _version(name: str, url: str) -> dict[str, Any]:
    return {
        "id": name,
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": url}],
        "media-types": [],
    }


async def _document(request: web.Request) -> Mapping[str, Any]:
    """:raises InvalidRequest: if the body is none."""
    body = await whole(request, _BODY_TIMEOUT, most=_MOST)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.") from None
    return found if isinstance(found, dict) else {}


def _inner(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """:raises InvalidRequest:"""
    found = document.get(name)
    if not isinstance(found, dict):
        raise InvalidRequest(f"The document has no {name!r}.")
    return found


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
