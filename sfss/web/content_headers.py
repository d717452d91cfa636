"""The headers with which a file is served, and so that nobody's file runs in the site's origin.

``nosniff`` stands on every answer. A content security policy with ``sandbox`` takes from a file that
is opened as a page its scripts, its forms and its origin (https://www.w3.org/TR/CSP3/#directive-sandbox).
What could run at all is offered as a download, unless the operator wants it otherwise.
"""

import re
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from sfss.http.messages import header_lines
from sfss.models import FileInfo, StoredFile
from sfss.web.media_types import media_type_of

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
#: Texts whose types do not say so.
_TEXTS = frozenset(
    ("application/javascript", "application/ecmascript", "application/json", "application/xml")
)
#: RFC 1952 2.3: the magic, and the only method that there is.
_GZIP = b"\x1f\x8b\x08"
#: Begins an escape sequence of ISO-2022: such a text is ASCII to the byte, and no UTF-8 to the eye.
_ESCAPE = 0x1B
#: What needs no second thought in a quoted string.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_NOT_QUOTED = re.compile(r'[^\x20-\x7e]|["\\%]')
#: Directives that open a shared cache to what is not for everybody (RFC 9111 5.2.2).
_OF_SHARED_CACHES = frozenset(("public", "s-maxage"))

#: More headers of a file (or of what is known of it), as lines.
MoreHeaders = Callable[[StoredFile | FileInfo], str]


def is_active(content_type: str) -> bool:
    """Whether browsers may run what a file of this type says."""
    return content_type in _ACTIVE or content_type.endswith("+xml")


def may_run(content_type: str) -> bool:
    """The same of what somebody has given as a ``Content-Type``: browsers see a type in much that is none, such as in a
    list of them (https://fetch.spec.whatwg.org/#concept-header-extract-mime-type).
    """
    text = content_type.lower()
    return "+xml" in text or "multipart/" in text or any(each in text for each in _ACTIVE)


class FileHeaders:
    """The headers of files, in their order.

    *inline_active*: show in the browser what could run. *cache_control*: of all files, or "". *gzip_texts*: a text
    whose bytes begin as gzip does is one that was stored compressed. *reads_open*: whether everybody may read, now:
    if not, no shared cache may keep a file. *more*: what this kind of server adds.
    """

    def __init__(
        self,
        *,
        inline_active: bool,
        cache_control: str,
        gzip_texts: bool = False,
        reads_open: Callable[[], bool],
        more: MoreHeaders | None = None,
    ):
        self._inline_active = inline_active
        self._gzip_texts = gzip_texts
        self._reads_open = reads_open
        self._cache_control = {True: cache_control, False: _private(cache_control)}
        self._more = more

    def lines(self, path: str, file: StoredFile) -> str:
        """Those of *file* at *path*, as they stand in the head of an answer."""
        lines, of_utf8_text = _lines_by_path(path, self._inline_active)
        if of_utf8_text and _is_utf8(file.content):
            lines = of_utf8_text
        if self._gzip_texts and file.content.startswith(_GZIP) and is_text(path):
            lines += "Content-Encoding: gzip\r\n"
        return lines + self._lines_of_file(file)

    def depends_on_content(self, path: str) -> bool:
        """Whether the headers of the file need a look at its content."""
        return _may_have_charset(path) or (self._gzip_texts and is_text(path))

    def lines_without_content(self, path: str, info: FileInfo) -> str:
        """The same, if :meth:`depends_on_content` says that the content does not matter."""
        return _lines_by_path(path, self._inline_active)[0] + self._lines_of_file(info)

    def lines_of_unchanged(self, file: StoredFile | FileInfo) -> str:
        """RFC 9110 15.4.5: what a cache may need of a file that it has."""
        return f'ETag: "{file.etag}"\r\n{self._cache_line()}'

    def _lines_of_file(self, file: StoredFile | FileInfo) -> str:
        lines = f'ETag: "{file.etag}"\r\nAccept-Ranges: bytes\r\n'
        if file.modified is not None:
            lines += f"Last-Modified: {http_date(int(file.modified))}\r\n"
        lines += self._cache_line()
        if self._more is not None:
            lines += self._more(file)
        return lines

    def _cache_line(self) -> str:
        cache_control = self._cache_control[self._reads_open()]
        return f"Cache-Control: {cache_control}\r\n" if cache_control else ""


def _is_utf8(content: bytes | bytearray) -> bool:
    """Whether a text is valid UTF-8. Only then its charset is said: without one browsers take it for
    Windows-1252.
    """
    if content.isascii():
        return _ESCAPE not in content
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_text(path: str) -> bool:
    """Whether the file's type is one that is written by people, and read as text."""
    media_type = media_type_of(path)
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+xml", "+json"))


def _may_have_charset(path: str) -> bool:
    return media_type_of(path).startswith("text/")


@lru_cache(maxsize=1024)
def http_date(second: int) -> str:
    """*second*, since the epoch, as RFC 9110 5.6.7 wants it."""
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=4096)
def _lines_by_path(path: str, inline_active: bool) -> tuple[str, str]:
    """The lines of any file there, and those of a text in UTF-8, "" if it can be none."""
    lines = header_lines(_by_path(path, False, inline_active))
    of_utf8_text = header_lines(_by_path(path, True, inline_active)) if _may_have_charset(path) else ""
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

    Twice: in ASCII for clients that know no more, and whole (RFC 8187 3.2).
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
        if directive.partition("=")[0].strip().lower() not in _OF_SHARED_CACHES | {"private"}
    ]
    return ", ".join(["private", *kept])
