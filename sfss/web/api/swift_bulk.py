"""Many objects deleted by one request, as Swift's bulk middleware does it."""

import json
from collections.abc import Iterable
from typing import Any

from sfss.errors import ContainerNotEmpty, InvalidRequest, NotFound
from sfss.http.messages import Headers, Response
from sfss.objects.service import Objects, check_object_name
from sfss.web.api.object_headers import decoded
from sfss.web.api.swift_request import Asked, document

MOST_DELETED = 10_000
_MOST_BYTES = 4 * 1024 * 1024


async def delete_many(objects: Objects, asked: Asked) -> Response:
    """What the lines of the body name, percent-encoded: objects, or empty containers."""
    body = await asked.body.whole(most=_MOST_BYTES)
    named = [decoded(line.strip().decode("latin-1"), "A name").lstrip("/") for line in body.split(b"\n")]
    paths = [name.partition("/")[::2] for name in named if name]
    if not paths:
        nothing = {"Number Deleted": 0, "Number Not Found": 0}
        return outcome(nothing, [], asked.headers, status="400 Bad Request", body="Invalid bulk delete.")
    if len(paths) > MOST_DELETED:
        raise InvalidRequest(f"There are at most {MOST_DELETED} names.")
    return await delete_paths(objects, asked.account, paths, asked.headers)


async def delete_paths(
    objects: Objects, account: int, paths: Iterable[tuple[str, str]], headers: Headers
) -> Response:
    """The answer says how many were deleted, and how many were not there."""
    deleted = missing = 0
    errors: list[list[str]] = []
    for container, name in paths:
        try:
            if name:
                check_object_name(name)
                await objects.catalog.delete_object(account, container, name)
            else:
                await objects.catalog.delete_container(account, container)
            deleted += 1
        except NotFound:
            missing += 1
        except InvalidRequest:
            errors.append([f"/{container}/{name[:100]}", "400 Bad Request"])
        except ContainerNotEmpty:
            errors.append([f"/{container}", "409 Conflict"])
    status = "400 Bad Request" if errors else "200 OK"
    return outcome({"Number Deleted": deleted, "Number Not Found": missing}, errors, headers, status=status)


def outcome(
    counts: dict[str, int], errors: list[list[str]], headers: Headers, *, status: str, body: str = ""
) -> Response:
    """What many operations have come to: *status* as it stands in the body, since the answer has begun to be good.

    *body*: what there is to say of it.
    """
    told: dict[str, Any] = {**counts, "Response Status": status, "Response Body": body, "Errors": errors}
    if "json" in headers.get("accept"):
        return document(json.dumps(told), "application/json")
    lines = [f"{name}: {value}" for name, value in told.items() if name != "Errors"]
    lines += ["Errors:", *(", ".join(error) for error in errors)]
    return document("\n".join(lines), "text/plain; charset=utf-8")
