"""The headers with which a file is served, so that nobody's file runs in the site's origin.

``nosniff`` stands on every answer. A content security policy with ``sandbox`` takes from a file that
is opened as a page its scripts, its forms and its origin (https://www.w3.org/TR/CSP3/#directive-sandbox).
What could run at all is offered as a download, unless the operator wants it otherwise.
"""

from collections.abc import Mapping
from functools import lru_cache

from sfss.service import content_type_of

_POLICY = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'"
#: The viewers of browsers run it apart from the site already, and show nothing in a sandbox.
_WITHOUT_SANDBOX = frozenset(("application/pdf",))
_ACTIVE = frozenset(
    (
        "application/ecmascript",
        "application/javascript",
        "application/x-shockwave-flash",
        "application/xhtml+xml",
        "application/xml",
        "image/svg+xml",
        "multipart/related",  # .mht
        "message/rfc822",  # .mht, .mhtml, .eml
        "text/html",
        "text/javascript",
        "text/xml",
        "text/xsl",
    )
)


def is_active(content_type: str) -> bool:
    """Whether browsers may run what a file of this type says."""
    return content_type in _ACTIVE or content_type.endswith("+xml")


def serving_headers(path: str, *, inline_active: bool) -> dict[str, str]:
    """The headers that say what the file under *path* is, and what it may do."""
    return _headers(content_type_of(path), inline_active)


@lru_cache(maxsize=4096)
def serving_lines(path: str, inline_active: bool) -> str:
    """The same as they stand in the head of an answer."""
    return header_lines(serving_headers(path, inline_active=inline_active))


def header_lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@lru_cache(maxsize=1024)
def _headers(content_type: str, inline_active: bool) -> dict[str, str]:
    policy = _POLICY if content_type in _WITHOUT_SANDBOX else f"{_POLICY}; sandbox"
    headers = {"Content-Type": content_type, "Content-Security-Policy": policy}
    if is_active(content_type) and not inline_active:
        headers["Content-Disposition"] = "attachment"
    return headers
