"""Many objects deleted by one request, as Swift's bulk middleware does it."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from sfss.errors import ContainerNotEmpty, InvalidRequest, NotFound
from sfss.http.messages import Headers
from sfss.objects.service import Objects
from sfss.web.api.swift_request import Asked

MOST_DELETED = 10_000
_MOST_BYTES = 4 * 1024 * 1024


async def read_body(request: web.Request, most: int) -> bytes:
    """All of it. :raises InvalidRequest: if it is longer than *most* bytes."""
    body = b""
    while data := await request.content.readany():
        body += data
        if len(body) > most:
            raise InvalidRequest(f"The body has over {most} bytes.")
    return body


async def delete_many(objects: Objects, asked: Asked) -> web.Response:
    """What the lines of the body name, percent-encoded: objects, or empty containers."""
    try:
        lines = (await read_body(asked.request, _MOST_BYTES)).decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    named = [unquote(line.strip()).lstrip("/") for line in lines if line.strip()]
    if len(named) > MOST_DELETED:
        raise InvalidRequest(f"There are at most {MOST_DELETED} names.")
    paths = [tuple(name.partition("/")[::2]) for name in named]
    return await delete_paths(objects, asked.account, paths, asked.headers)  # type: ignore[arg-type]


async def delete_paths(
    objects: Objects, account: int, paths: Iterable[tuple[str, str]], headers: Headers
) -> web.Response:
    """The answer says how many were deleted, and how many were not there."""
    deleted = missing = 0
    errors: list[list[str]] = []
    for container, name in paths:
        try:
            if name:
                await objects.catalog.delete_object(account, container, name)
            else:
                await objects.catalog.delete_container(account, container)
            deleted += 1
        except NotFound:
            missing += 1
        except ContainerNotEmpty:
            errors.append([f"/{container}", "409 Conflict"])
    document: dict[str, Any] = {
        "Number Deleted": deleted,
        "Number Not Found": missing,
        "Response Status": "400 Bad Request" if errors else "200 OK",
        "Response Body": "",
        "Errors": errors,
    }
    if "json" in headers.get("accept"):
        return web.Response(body=json.dumps(document).encode(), content_type="application/json")
    lines = [f"{name}: {value}" for name, value in document.items() if name != "Errors"]
    lines += ["Errors:", *(", ".join(error) for error in errors)]
    return web.Response(text="\n".join(lines))
