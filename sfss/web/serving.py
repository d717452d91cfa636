"""The headers with which a file is served, and so that nobody's file runs in the site's origin.

``nosniff`` stands on every answer. A content security policy with ``sandbox`` takes from a file that
is opened as a page its scripts, its forms and its origin (https://www.w3.org/TR/CSP3/#directive-sandbox).
What could run at all is offered as a download, unless the operator wants it otherwise.
"""

import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from sfss.media_types import media_type_of
from sfss.models import FileInfo, StoredFile

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
#: Begins an escape sequence of ISO-2022: such a text is ASCII to the byte, and no UTF-8 to the eye.
_ESCAPE = 0x1B
#: What needs no second thought in a quoted string.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_NOT_QUOTED = re.compile(r'[^\x20-\x7e]|["\\%]')
#: Directives that open a shared cache to what is not for everybody (RFC 9111 5.2.2).
_OF_SHARED_CACHES = ("public", "s-maxage")

#: More headers of a file, by name.
MoreHeaders = Callable[[StoredFile | FileInfo], dict[str, str]]


def is_active(content_type: str) -> bool:
    """Whether browsers may run what a file of this type says."""
    return content_type in _ACTIVE or content_type.endswith("+xml")


class FileHeaders:
    """The headers of files, in their order.

    *inline_active*: show in the browser what could run. *cache_control*: of all files, or "".
    *reads_open*: whether everybody may read, now: if not, no shared cache may keep a file. *more*: what this
    kind of server adds.
    """

    def __init__(
        self,
        *,
        inline_active: bool,
        cache_control: str,
        reads_open: Callable[[], bool],
        more: MoreHeaders | None = None,
    ):
        self._inline_active = inline_active
        self._reads_open = reads_open
        self._cache_control = {True: cache_control, False: _private(cache_control)}
        self._more = more

    def of(self, path: str, file: StoredFile | FileInfo, *, is_utf8: bool) -> dict[str, str]:
        """*is_utf8*: see :func:`is_utf8_text`."""
        return _by_path(path, is_utf8, self._inline_active) | self._of_file(file)

    def lines_of(self, path: str, file: StoredFile) -> str:
        """The same as they stand in the head of an answer."""
        lines, of_utf8_text = _lines_by_path(path, self._inline_active)
        if of_utf8_text and _is_utf8(file.content):
            lines = of_utf8_text
        for name, value in self._of_file(file).items():
            lines += f"{name}: {value}\r\n"
        return lines

    def _of_file(self, file: StoredFile | FileInfo) -> dict[str, str]:
        headers = {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.modified is not None:
            headers["Last-Modified"] = http_date(int(file.modified))
        if cache_control := self._cache_control[self._reads_open()]:
            headers["Cache-Control"] = cache_control
        if self._more is not None:
            headers |= self._more(file)
        return headers


def is_utf8_text(path: str, content: bytes | bytearray) -> bool:
    """Whether *content* is a text by the name of its file, and valid UTF-8.

    Only then its charset is said: without one browsers take a text for Windows-1252.
    """
    return depends_on_content(path) and _is_utf8(content)


def _is_utf8(content: bytes | bytearray) -> bool:
    if content.isascii():
        return _ESCAPE not in content
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def depends_on_content(path: str) -> bool:
    """Whether the headers of the file need a look at its content."""
    return media_type_of(path).startswith("text/")


def header_lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@lru_cache(maxsize=1024)
def http_date(second: int) -> str:
    """*second*, since the epoch, as RFC 9110 5.6.7 wants it."""
    return formatdate(second, usegmt=True)


def date_of_now() -> str:
    return http_date(int(time.time()))


@lru_cache(maxsize=4096)
def _lines_by_path(path: str, inline_active: bool) -> tuple[str, str]:
    """The lines of any file there, and those of a text in UTF-8, "" if it can be none."""
    lines = header_lines(_by_path(path, False, inline_active))
    of_utf8_text = header_lines(_by_path(path, True, inline_active)) if depends_on_content(path) else ""
    return lines, of_utf8_text


def _by_path(path: str, is_utf8: bool, inline_active: bool) -> dict[str, str]:
    media_type = media_type_of(path)
    disposition = "attachment" if is_active(media_type) and not inline_active else "inline"
    return _by_type(media_type, is_utf8) | {
        "Content-Disposition": f"{disposition}; {_file_name(path.rpartition('/')[2])}"
    }


@lru_cache(maxsize=1024)
def _by_type(media_type: str, is_utf8: bool) -> dict[str, str]:
    policy = _POLICY if media_type in _WITHOUT_SANDBOX else f"{_POLICY}; sandbox"
    return {
        "Content-Type": f"{media_type}; charset=utf-8" if is_utf8 else media_type,
        "Content-Security-Policy": policy,
    }


def _file_name(name: str) -> str:
    """The parameters of ``Content-Disposition`` that say what a download is called (RFC 6266 4.3).

    Twice: in ASCII for who knows no more, and whole (RFC 8187 3.2).
    """
    if _PLAIN_NAME.fullmatch(name):
        return f"filename=\"{name}\"; filename*=UTF-8''{name}"
    return f"filename=\"{_NOT_QUOTED.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='')}"


def _private(cache_control: str) -> str:
    """*cache_control* for files that need a token: no shared cache may keep them (RFC 9111 5.2.2.7)."""
    directives = [part.strip() for part in cache_control.split(",") if part.strip()]
    kept = [
        directive
        for directive in directives
        if directive.partition("=")[0].strip().lower() not in (*_OF_SHARED_CACHES, "private")
    ]
    return ", ".join(["private", *kept])
