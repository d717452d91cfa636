"""Conditional and range requests (RFC 9110 13 and 14): pure functions of headers and ETags."""

import re
from email.utils import parsedate_to_datetime

from sfss.errors import InvalidRequest, PreconditionFailed, RangeNotSatisfiable
from sfss.http.messages import Headers
from sfss.models import FileInfo, Precondition, matches

#: The headers that may make another answer of a GET than the whole file.
CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range"))
# RFC 9110 8.8.3: entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE; one member of a list of them, which may
# be empty (5.6.1.2), with the comma behind it. Each byte has one place in it only: a pattern for the
# whole list would let a hostile header take exponential time.
_MEMBER = re.compile(r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')
# RFC 9110 14.1.2. A list of ranges does not match: it is answered with the whole file.
# (Some clients write the greatest number that they know for "to the end".)
_RANGE = re.compile(r"bytes=\s*(\d{0,40})-(\d{0,40})\s*", re.IGNORECASE | re.ASCII)


def write_precondition(headers: Headers) -> Precondition | None:
    """What ``If-Match`` and ``If-None-Match`` ask of the file before a write.

    :raises InvalidRequest: if one of them is malformed: a write must not ignore it.
    """
    if "if-match" not in headers and "if-none-match" not in headers:
        return None
    return Precondition(
        if_match=_etags(headers, "If-Match", weak=False),
        if_none_match=_etags(headers, "If-None-Match", weak=True),
    )


def is_unchanged(headers: Headers, info: FileInfo) -> bool:
    """Whether a GET or HEAD is to be answered with 304: the client has this version.

    A malformed ``If-None-Match`` is passed over: to send the file is never wrong.

    :raises PreconditionFailed: if ``If-Match`` does not hold.
    :raises InvalidRequest: if ``If-Match`` is malformed.
    """
    # RFC 9110 13.2.2: If-Match first, and its failure is 412; that of If-None-Match is 304.
    if "if-match" in headers:
        Precondition(if_match=_etags(headers, "If-Match", weak=False)).check(info)
    elif _is_modified_since(headers, "if-unmodified-since", info):
        raise PreconditionFailed("If-Unmodified-Since does not hold: the file is newer.")
    if "if-none-match" not in headers:
        # RFC 9110 13.1.3: with an If-None-Match the date is ignored, whatever that one says.
        return _is_modified_since(headers, "if-modified-since", info) is False
    try:
        tags = _etags(headers, "If-None-Match", weak=True)
    except InvalidRequest:
        return False
    return tags is not None and matches(tags, info)


def _is_modified_since(headers: Headers, name: str, info: FileInfo) -> bool | None:
    """Whether the file is newer than the date in the header *name*; None if nobody can say."""
    if info.modified is None or name not in headers:
        return None
    try:
        return int(info.modified) > parsedate_to_datetime(headers[name]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None  # RFC 9110 13.1.3: what is no date is ignored


def requested_range(headers: Headers, info: FileInfo) -> tuple[int, int] | None:
    """The part of the content that ``Range`` asks for, as (first byte, byte behind the last).

    None: answer with the whole file, because nothing less is asked for, the header is not
    understood (RFC 9110 14.2 allows to ignore it), or ``If-Range`` names another version.

    :raises RangeNotSatisfiable: if the range begins behind the end.
    """
    if "range" not in headers.raw:
        return None
    match = _RANGE.fullmatch(headers.get("range"))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    # RFC 9110 13.1.5: strong comparison; a date never matches, for those that we send are weak.
    if "if-range" in headers and headers["if-range"].strip() != f'"{info.etag}"':
        return None
    first_text, last_text = match.groups()
    if not first_text:  # the last so many bytes
        if info.size == 0 and int(last_text):
            return None  # RFC 9110 14.1.2: all of them, for it has no more
        start, stop = max(info.size - int(last_text), 0), info.size
    else:
        start, stop = int(first_text), info.size
        if last_text:
            if int(last_text) < start:
                return None  # RFC 9110 14.1.1: such a range is invalid
            stop = min(int(last_text) + 1, info.size)
    if start >= info.size:
        raise RangeNotSatisfiable(info.size)
    return start, stop


def _etags(headers: Headers, name: str, *, weak: bool) -> tuple[str, ...] | None:
    """The opaque tags of the header, or ("*",); None without the header.

    With *weak* (RFC 9110 8.8.3.2), weak tags compare as strong ones; otherwise they never match.
    """
    if name.lower() not in headers:
        return None
    text = headers.get(name.lower())
    if text.strip() == "*":
        return ("*",)
    tags: list[str] = []
    found = False
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            found = False
            break
        is_weak, tag = member.groups()
        if tag is not None:
            found = True
            if (weak or not is_weak) and tag != "*":
                tags.append(tag)
        position = member.end()
    if not found:
        raise InvalidRequest(f'{name} is malformed: it is a list of ETags in double quotes, or "*".')
    return tuple(tags)
