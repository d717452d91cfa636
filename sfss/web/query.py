"""What the URL of a request says: an argument out of its query string, or its file; percent-decoded once."""

from urllib.parse import unquote_to_bytes

from sfss.errors import InvalidPath, InvalidRequest
from sfss.http.messages import Request

#: The URL of a file may begin so, with its path behind it, in place of the argument ``path``.
FILE_BEGIN = "/file/"


def names_a_file(request: Request) -> bool:
    """Whether its URL is that of one file."""
    return request.path == "/file" or request.path.startswith(FILE_BEGIN)


def file_in(request: Request) -> str:
    """The path of the file that the URL of *request* names, decoded, not yet looked at.

    :raises InvalidRequest: if it is missing, said twice, not UTF-8, or cut off by a ``#``.
    """
    if "#" in request.target:  # RFC 9112 3.2: no part of a request; never cut off silently
        raise InvalidRequest("The URL contains a '#'; in a path it is written %23.")
    value = argument(request.query, "path")
    if request.path.startswith(FILE_BEGIN):
        if value is not None:
            raise InvalidRequest(
                "The URL names a file, and its argument 'path' another time: leave one away."
            )
        return percent_decoded(request.path[len(FILE_BEGIN) :], "URL")
    if value is None:
        raise InvalidRequest("The argument 'path' is missing; it belongs in the query string.")
    return value


def argument(query: str, name: str) -> str | None:
    """The value of *name* in the raw *query* string; None if it is not there.

    As HTML forms encode it (``application/x-www-form-urlencoded``): ``+`` is a space.

    :raises InvalidRequest: if it is there twice, or not UTF-8 when it is decoded.
    """
    if not query:
        return None
    found: str | None = None
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name or ("%" in key and _decoded(key) == name):
            if found is not None:
                raise InvalidRequest(f"The argument {name!r} is repeated.")
            found = value
    return found if found is None else _decoded(found)


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    return percent_decoded(text, "query string")


def percent_decoded(text: str, where: str) -> str:
    """*text*, which is a part of the *where*, decoded once. :raises InvalidPath: if it is not UTF-8 then."""
    if "%" not in text and text.isascii():
        return text
    try:
        # aiohttp decodes the request line with surrogateescape: back to the bytes first.
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise InvalidPath(f"The {where} is not valid UTF-8 after percent-decoding.") from None
