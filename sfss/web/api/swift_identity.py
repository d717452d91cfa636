"""Who asks: tokens of Swift, for a key (v1) or a password (v2.0 and v3 of Keystone's API, what clients need of it)."""

import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sfss.errors import Forbidden, InvalidRequest, MethodNotAllowed, SwiftUnauthorized
from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Request, Response
from sfss.objects.catalog import Catalog
from sfss.objects.manifests import is_utf8
from sfss.objects.models import User
from sfss.objects.tokens import Token, make_token, read_token
from sfss.objects.users import Users
from sfss.web.api.object_headers import lines_of
from sfss.web.api.own_url import OwnUrl
from sfss.web.api.swift_request import answer
from sfss.web.operations import Answer, Call, MakeOperation
from sfss.web.streams import Incoming

#: A request for a token has no more than that. Bytes.
_MOST = 64 * 1024
_BODY_TIMEOUT = 10.0
_REGION = "RegionOne"
_FRESH = {"Cache-Control": "no-store"}


#: So many are remembered.
_MOST_TOKENS = 10_000


class Identity:
    """Of *users*, in *catalog*. *lifetime*: of a token, in seconds."""

    def __init__(self, catalog: Catalog, users: Users, url: OwnUrl, *, lifetime: float):
        self._catalog = catalog
        self._users = users
        self._tokens: dict[str, Token] = {}  # whose signatures were seen to hold
        self._url = url
        self._lifetime = lifetime
        self._secret = b""
        first = ("/auth", "/auth/v1", "/auth/v1.0", "/v1.0")
        get: dict[str, Answer] = dict.fromkeys(
            [path + slash for path in first for slash in ("", "/")], self.v1
        )
        get |= {"/": self.versions, "/v2.0": self.v2_version, "/v2.0/": self.v2_version}
        get |= {"/v3": self.v3_version, "/v3/": self.v3_version}
        post: dict[str, Answer] = {"/v2.0/tokens": self.v2, "/v3/auth/tokens": self.v3}
        self._handlers = {path: ("GET", handler) for path, handler in get.items()}
        self._handlers |= {path: ("POST", handler) for path, handler in post.items()}

    async def start(self) -> None:
        self._secret = await self._catalog.secret()

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`."""
        found = self._handlers.get(request.path)
        if found is None:
            return None
        method, handler = found
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            raise MethodNotAllowed(request.method, [method])
        return lambda asked: Call(asked, handler), request.path

    async def user_of(self, headers: Headers) -> User | None:
        """Whose token the request has; None: it has none. :raises Unauthorized: if that is not good."""
        text = headers.get("x-auth-token") or headers.get("x-storage-token")
        if not text:
            return None
        token = self._tokens.get(text) or self._read(text)
        if token is not None and token.expires > time.time():
            name = f"{token.account}:{token.user}"
            user = await self._users.find(name)
            if user is None or not _is_of(token, user):
                user = await self._users.find(name, fresh=True)
            if user is not None and _is_of(token, user):
                return user
        raise SwiftUnauthorized("The token is not valid, or not any more: ask for a new one.")

    def _read(self, text: str) -> Token | None:
        token = read_token(self._secret, text)
        if token is not None:
            if len(self._tokens) >= _MOST_TOKENS:
                self._tokens.clear()
            self._tokens[text] = token
        return token

    # The ways to get one.

    async def v1(self, exchange: Exchange) -> Response:
        headers = exchange.headers
        name = headers.get("x-auth-user") or headers.get("x-storage-user")
        key = headers.get("x-auth-key") or headers.get("x-storage-pass")
        user = await self._checked(*name.partition(":")[::2], key)
        token, expires = self._token(user)
        lines = {
            "X-Storage-Url": self._storage_url(exchange, user.account_name),
            "X-Auth-Token": token,
            "X-Storage-Token": token,
            "X-Auth-Token-Expires": str(int(expires - time.time())),
        }
        return answer(200, lines | _FRESH, content_type="text/plain")

    async def v2(self, exchange: Exchange) -> Response:
        auth = _inner(await _document(exchange), "auth")
        given = _inner(auth, "passwordCredentials")
        account = auth.get("tenantName") or auth.get("tenantId") or ""
        user = await self._checked(*_split(account, given.get("username")), given.get("password"))
        token, expires = self._token(user)
        url = self._storage_url(exchange, user.account_name)
        endpoint = {"region": _REGION, "publicURL": url, "internalURL": url, "adminURL": url}
        document = {
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
        return _as_json(document)

    async def v3(self, exchange: Exchange) -> Response:
        auth = _inner(await _document(exchange), "auth")
        given = _inner(_inner(_inner(auth, "identity"), "password"), "user")
        scope = auth.get("scope")
        project = _inner(scope, "project") if isinstance(scope, Mapping) and "project" in scope else {}
        account = project.get("name") or project.get("id") or ""
        name = given.get("name") or given.get("id")
        user = await self._checked(*_split(account, name), given.get("password"))
        token, expires = self._token(user)
        domain = {"id": "default", "name": "Default"}
        url = self._storage_url(exchange, user.account_name)
        endpoints = [
            {"id": interface, "interface": interface, "region": _REGION, "region_id": _REGION, "url": url}
            for interface in ("public", "internal", "admin")
        ]
        document = {
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
        return _as_json(document, 201, {"X-Subject-Token": token})

    # What clients ask first, to find the others.

    async def versions(self, exchange: Exchange) -> Response:
        base = self._url.base(exchange)
        values = [_version("v3.14", f"{base}/v3/"), _version("v2.0", f"{base}/v2.0/")]
        return _as_json({"versions": {"values": values}}, 300)

    async def v2_version(self, exchange: Exchange) -> Response:
        document = {"version": _version("v2.0", f"{self._url.base(exchange)}/v2.0/")}
        return _as_json(document)

    async def v3_version(self, exchange: Exchange) -> Response:
        document = {"version": _version("v3.14", f"{self._url.base(exchange)}/v3/")}
        return _as_json(document)

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

    def _storage_url(self, exchange: Exchange, account: str) -> str:
        return f"{self._url.base(exchange)}/v1/AUTH_{quote(account, safe='')}"


def _is_of(token: Token, user: User) -> bool:
    """Whether the token is still good, too."""
    return not user.disabled and user.generation == token.generation


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


def _as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    lines = lines_of({"Content-Type": "application/json", **_FRESH, **(headers or {})})
    return Response(status, lines, json.dumps(document).encode())


async def _document(exchange: Exchange) -> Mapping[str, Any]:
    """:raises InvalidRequest: if the body is none."""
    body = await Incoming(exchange, _BODY_TIMEOUT).whole(most=_MOST)
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
