"""Which pages of other sites may use a bucket: its rules, the answer to what browsers ask before, and the headers.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sfss.objects.models import Metadata
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_xml import Element, children, document, read, text_in

#: Where a container has them.
CORS = "X-Sfss-Cors"
_METHODS = frozenset(("GET", "PUT", "POST", "DELETE", "HEAD"))
_MOST = 100


class Rule(NamedTuple):
    id: str
    origins: list[str]
    methods: list[str]
    headers: list[str]  #: that a page may send
    exposed: list[str]  #: that it may see
    seconds: int | None  #: that a browser remembers it


def rules_in(body: bytes) -> str:
    """As they are kept. :raises S3Error:"""
    rules = []
    for element in children(read(body, "CORSConfiguration"), "CORSRule"):
        seconds = text_in(element, "MaxAgeSeconds").strip()
        if seconds and not (seconds.isascii() and seconds.isdecimal() and len(seconds) < 10):
            raise S3Error("MalformedXML", "MaxAgeSeconds is a number.")
        rule = Rule(
            text_in(element, "ID"),
            _texts(element, "AllowedOrigin"),
            _texts(element, "AllowedMethod"),
            _texts(element, "AllowedHeader"),
            _texts(element, "ExposeHeader"),
            int(seconds) if seconds else None,
        )
        if not rule.origins or not rule.methods or not _METHODS.issuperset(rule.methods):
            raise S3Error(
                "InvalidRequest", "A rule has origins, and methods of GET, PUT, POST, DELETE and HEAD."
            )
        if any(text.count("*") > 1 for text in (*rule.origins, *rule.headers)):
            raise S3Error("InvalidRequest", "An origin or a header has at most one '*'.")
        if any(not text.isprintable() or not text.isascii() for texts in rule[1:5] for text in texts):
            raise S3Error("InvalidRequest", "An origin or a header is of printable ASCII.")
        rules.append(rule)
    if not 0 < len(rules) <= _MOST:
        raise S3Error("MalformedXML", f"There are 1 to {_MOST} rules.")
    return json.dumps(rules, separators=(",", ":"))


def _texts(element: ET.Element, name: str) -> list[str]:
    return [(child.text or "").strip() for child in children(element, name)]


def rules_of(metadata: Metadata) -> list[Rule]:
    text = metadata.get(CORS)
    return [Rule(*each) for each in json.loads(text)] if text else []


def rules_document(rules: Sequence[Rule]) -> bytes:
    elements: list[Element] = []
    for rule in rules:
        inner: list[Element] = [("ID", rule.id)] if rule.id else []
        for name, values in (
            ("AllowedOrigin", rule.origins),
            ("AllowedMethod", rule.methods),
            ("AllowedHeader", rule.headers),
            ("ExposeHeader", rule.exposed),
        ):
            inner += [(name, value) for value in values]
        if rule.seconds is not None:
            inner.append(("MaxAgeSeconds", rule.seconds))
        elements.append(("CORSRule", inner))
    return document("CORSConfiguration", elements)


def headers_for(rules: Sequence[Rule], origin: str, method: str) -> Mapping[str, str]:
    """Those of the answer to a page of *origin*; none, if it may not see it."""
    for rule in rules:
        if method in rule.methods and _matches(rule.origins, origin):
            return _of(rule, origin) | (
                {"Access-Control-Expose-Headers": ", ".join(rule.exposed)} if rule.exposed else {}
            )
    return {}


def preflight_headers(
    rules: Sequence[Rule], origin: str, method: str, wanted: Sequence[str]
) -> Mapping[str, str]:
    """The same of a browser that asks before; none, if the page may not. *wanted*: headers that it would send."""
    for rule in rules:
        if (
            method in rule.methods
            and _matches(rule.origins, origin)
            and all(_matches(rule.headers, name, re.IGNORECASE) for name in wanted)
        ):
            found = _of(rule, origin) | {"Access-Control-Allow-Methods": ", ".join(rule.methods)}
            if wanted:
                found["Access-Control-Allow-Headers"] = ", ".join(wanted)
            if rule.seconds is not None:
                found["Access-Control-Max-Age"] = str(rule.seconds)
            return found
    return {}


def _of(rule: Rule, origin: str) -> dict[str, str]:
    allowed = "*" if "*" in rule.origins else origin
    return {"Access-Control-Allow-Origin": allowed, "Vary": "Origin"}


def _matches(patterns: Sequence[str], text: str, flags: int = 0) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text, flags) is not None for pattern in patterns
    )
