"""Swift's object storage API: what is at ``/v1/AUTH_ACCOUNT/CONTAINER/OBJECT``, who may have it; accounts, containers.

Source: https://docs.openstack.org/api-ref/object-store/, and what its clients were seen to need.
"""

import json
from collections.abc import Awaitable, Callable

from sfss.errors import (
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotSupported,
    SwiftUnauthorized,
)
from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Request, Response
from sfss.objects.limits import MAX_OBJECT_SIZE
from sfss.objects.listings import Page
from sfss.objects.manifests import MOST_STATIC
from sfss.objects.models import ObjectInfo, Query, User
from sfss.objects.service import (
    MAX_CONTAINER_NAME,
    MAX_OBJECT_NAME,
    Objects,
    check_container_name,
    check_object_name,
)
from sfss.objects.users import Users
from sfss.web.api.object_headers import is_public, last_modified
from sfss.web.api.swift_archives import MOST_ERRORS, MOST_FILES, extract
from sfss.web.api.swift_bulk import MOST_DELETED, delete_many
from sfss.web.api.swift_headers import (
    check_supported,
    container_changes,
    metadata_changes,
    timestamp,
    visible,
)
from sfss.web.api.swift_identity import Identity
from sfss.web.api.swift_listings import MOST, containers_listed, form_of, objects_listed, query_of
from sfss.web.api.swift_objects import ObjectHandlers
from sfss.web.api.swift_request import Asked, answer, document
from sfss.web.api.swift_tempurl import DIGESTS, METHODS, Opened, is_temporary, opened
from sfss.web.auth import Auth
from sfss.web.operations import Call, MakeOperation
from sfss.web.query import argument, percent_decoded
from sfss.web.streams import Incoming

#: What requests are called in the metrics.
_ACCOUNT, _CONTAINER, OBJECT = "swift account", "swift container", "swift object"
_READING = frozenset(("GET", "HEAD"))
#: What a query says of versions by the API of Swift that has them.
_OF_VERSIONS = ("version-id", "versions")

Handler = Callable[[Asked], Awaitable[Response | None]]


class Swift:
    """*objects*, for whom *identity* knows. *body_timeout*: seconds in which more of a body must come."""

    def __init__(
        self, objects: Objects, users: Users, identity: Identity, auth: Auth, *, body_timeout: float
    ):
        self._objects = objects
        self._catalog = objects.catalog
        self._users = users
        self._reads_at_once = objects.reads_at_once
        self._identity = identity
        self._auth = auth
        self._body_timeout = body_timeout
        of_objects = ObjectHandlers(objects)
        self._handlers: dict[str, dict[str, Handler]] = {
            "account": {
                "GET": self.list_containers,
                "HEAD": self.head_account,
                "POST": self.post_account,
            },
            "container": {
                "GET": self.list_objects,
                "HEAD": self.head_container,
                "PUT": self.put_container,
                "POST": self.post_container,
                "DELETE": self.delete_container,
            },
            "object": {
                "GET": of_objects.get,
                "HEAD": of_objects.get,
                "PUT": of_objects.put,
                "POST": of_objects.post,
                "DELETE": of_objects.delete,
                "COPY": of_objects.copy,
            },
        }

    def find(self, request: Request) -> tuple[MakeOperation, str] | None:
        """See :class:`Api`. The route says what it is about."""
        path = request.path
        if path.startswith("/v1/"):
            parts = path.split("/", 4)
            route = OBJECT if any(parts[4:]) else _CONTAINER if any(parts[3:]) else _ACCOUNT
            return self._call, route
        return (lambda asked: Call(asked, self.info), path) if path == "/info" else None

    def _call(self, request: Request) -> Call:
        return Call(request, self.handle, at_once=self._reads_at_once and request.method in _READING)

    async def info(self, exchange: Exchange) -> Response:
        """What there is of the parts of the API that not every server has."""
        parts = {
            "swift": {
                "account_listing_limit": MOST,
                "container_listing_limit": MOST,
                "max_container_name_length": MAX_CONTAINER_NAME,
                "max_file_size": MAX_OBJECT_SIZE,
                "max_object_name_length": MAX_OBJECT_NAME,
            },
            "slo": {"max_manifest_segments": MOST_STATIC, "min_segment_size": 1},
            "tempurl": {
                "methods": list(METHODS),
                "allowed_digests": list(DIGESTS.values()),
            },
            "bulk_upload": {"max_files_per_extraction": MOST_FILES, "max_failed_extractions": MOST_ERRORS},
            "bulk_delete": {"max_deletes_per_request": MOST_DELETED},
        }
        return document(json.dumps(parts), "application/json", {"Cache-Control": "no-store"})

    async def handle(self, exchange: Exchange) -> Response | None:
        headers, query, method = exchange.headers, exchange.query, exchange.method
        parts = [percent_decoded(part, "URL") for part in exchange.path.split("/", 4)[2:]]
        account_name, container, name = (*parts, "", "")[:3]
        kind = "object" if name else "container" if container else "account"
        handler = self._handlers[kind].get(method)
        if argument(query, "bulk-delete") is not None and method in ("POST", "DELETE"):
            handler = self.delete_in_bulk
        if argument(query, "extract-archive") is not None and method == "PUT":
            handler = self.extract_archive
        if handler is None:
            raise MethodNotAllowed(method, self._handlers[kind])
        if query and any(argument(query, name) is not None for name in _OF_VERSIONS):
            raise NotSupported("Swift's own versions are not supported here: S3's API has them.")
        if name:
            check_object_name(name)
        opened = None
        if is_temporary(query):
            opened = await self._opened(exchange, (account_name, container, name))
            account, is_owner, may_write = opened.account, method not in _READING, False
        else:
            account, is_owner, may_write = await self._admitted(
                method, headers, account_name, container, kind
            )
        if method not in _READING:
            check_supported(headers)
        body = Incoming(exchange, self._body_timeout)
        return await handler(
            Asked(
                exchange,
                body,
                headers,
                query,
                account,
                account_name,
                container,
                name,
                is_owner,
                may_write,
                opened,
            )
        )

    async def _opened(self, exchange: Exchange, place: tuple[str, str, str]) -> Opened:
        """What its temporary URL opens. :raises SwiftUnauthorized:"""
        account = await self._account(_named(place[0]))
        return await opened(self._catalog, account, exchange, place, self._auth.client_address(exchange))

    async def _account(self, name: str) -> int | None:
        """Its key, if there is one."""
        return await self._users.account_named(name) if name else None

    async def _admitted(
        self, method: str, headers: Headers, account_name: str, container: str, kind: str
    ) -> tuple[int, bool, bool]:
        """The account, if this may be done in it; whether by its own user, and whether he may write.

        :raises Unauthorized: :raises Forbidden:
        """
        user: User | None = await self._identity.user_of(headers)
        wanted = _named(account_name)
        if user is not None and user.account_name == wanted:
            if method not in _READING and user.read_only:
                raise Forbidden("This user may only read.")
            return user.account, True, not user.read_only
        account = await self._account(wanted)
        if account is not None and container and method in _READING:
            try:
                info = await self._catalog.container(account, container)
                if is_public(info.metadata, listing=kind == "container"):
                    return account, False, False
            except NotFound:
                pass  # which is not told to everybody
        if user is None:
            raise SwiftUnauthorized("This needs a token: X-Auth-Token.")
        raise Forbidden("The token is for another account.")

    # Accounts.

    async def head_account(self, asked: Asked) -> Response:
        return _head(await self._of_account(asked))

    async def _of_account(self, asked: Asked) -> dict[str, str]:
        info = await self._catalog.account(asked.account)
        headers = {
            "X-Account-Container-Count": str(info.containers),
            "X-Account-Object-Count": str(info.objects),
            "X-Account-Bytes-Used": str(info.bytes),
            "X-Timestamp": timestamp(info.created),
        }
        return headers | visible(info.metadata, to_writers=asked.may_write)

    async def list_containers(self, asked: Asked) -> Response:
        query = query_of(asked.query)
        form = form_of(asked.query, asked.headers.get("accept"))
        headers = await self._of_account(asked)
        with await self._objects.room_for(query.limit):
            page = await self._catalog.containers(asked.account, query)
            body, content_type = containers_listed(page, query, form, asked.account_name)
        return _listing(body, content_type, headers)

    async def post_account(self, asked: Asked) -> Response:
        await self._catalog.change_account(asked.account, metadata_changes(asked.headers, "account"))
        return answer(204)

    async def extract_archive(self, asked: Asked) -> Response:
        kind = argument(asked.query, "extract-archive") or ""
        return await extract(self._objects, asked, kind)

    async def delete_in_bulk(self, asked: Asked) -> Response:
        return await delete_many(self._objects, asked)

    # Containers.

    async def put_container(self, asked: Asked) -> Response:
        check_container_name(asked.container)
        policy = asked.headers.get("x-storage-policy").strip()
        if policy.lower() not in ("", "default", "policy-0"):
            raise InvalidRequest(f"Invalid X-Storage-Policy {policy[:40]!r}: there is one, the default.")
        changes = container_changes(asked.headers)
        is_new = await self._catalog.make_container(asked.account, asked.container, changes)
        return answer(201 if is_new else 202)

    async def head_container(self, asked: Asked) -> Response:
        return _head(await self._of_container(asked))

    async def _of_container(self, asked: Asked) -> dict[str, str]:
        info = await self._catalog.container(asked.account, asked.container)
        headers = {
            "X-Container-Object-Count": str(info.objects),
            "X-Container-Bytes-Used": str(info.bytes),
            "X-Timestamp": timestamp(info.created),
            "Last-Modified": last_modified(info.modified),
            "Accept-Ranges": "bytes",
        }
        if asked.is_owner:
            headers |= visible(info.metadata, to_writers=asked.may_write)
        return headers

    async def list_objects(self, asked: Asked) -> Response:
        query = query_of(asked.query)
        form = form_of(asked.query, asked.headers.get("accept"))
        headers = await self._of_container(asked)
        with await self._objects.room_for(query.limit):
            page = await self._page(asked, query)
            body, content_type = objects_listed(page, query, form, asked.container)
        return _listing(body, content_type, headers)

    async def _page(self, asked: Asked, query: Query) -> Page[ObjectInfo]:
        page = await self._catalog.objects(asked.account, asked.container, query)
        if argument(asked.query, "path") is None:
            return page
        # Folders are not in it, and do not count; nor is the one whose content it is.
        files = [file for file in page.files if file.path != query.prefix]
        while page.cursor is not None and len(files) < query.limit:
            rest = query._replace(marker=page.cursor, limit=query.limit - len(files))
            page = await self._catalog.objects(asked.account, asked.container, rest)
            files += page.files
        return Page(files, [], page.cursor)

    async def post_container(self, asked: Asked) -> Response:
        changes = container_changes(asked.headers)
        await self._catalog.change_container(asked.account, asked.container, changes)
        return answer(204)

    async def delete_container(self, asked: Asked) -> Response:
        await self._catalog.delete_container(asked.account, asked.container)
        return answer(204)


def _named(account: str) -> str:
    """The name of the account that a URL says; "": that is none."""
    return account.removeprefix("AUTH_") if account.startswith("AUTH_") else ""


def _head(headers: dict[str, str]) -> Response:
    return answer(204, headers, content_type="text/plain; charset=utf-8")


def _listing(body: bytes, content_type: str, headers: dict[str, str]) -> Response:
    if not body:
        return answer(204, headers, content_type=content_type)
    return document(body, content_type, headers)
