"""Rules by which objects of a bucket end: after so many days, or on a day; and uploads that nobody completes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html. What they ask for is done by
:mod:`sfss.objects.lifecycle`.
"""

import secrets
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime, time

from sfss.errors import NotSupported
from sfss.objects.lifecycle import MOST_RULES, Rule
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_xml import Element, children, document, read, text_in

_KNOWN = frozenset(
    ("ID", "Prefix", "Filter", "Status", "Expiration", "AbortIncompleteMultipartUpload")
    + ("NoncurrentVersionExpiration",)
)


def rules_in(body: bytes) -> list[Rule]:
    """:raises S3Error: :raises NotSupported: if something else is to happen to objects."""
    rules = [_rule(element) for element in children(read(body, "LifecycleConfiguration"), "Rule")]
    if not 0 < len(rules) <= MOST_RULES:
        raise S3Error("MalformedXML", f"There are 1 to {MOST_RULES} rules.")
    if len({rule.id for rule in rules}) != len(rules):
        raise S3Error("InvalidArgument", "Two rules have the same ID.")
    return rules


def _rule(element: ET.Element) -> Rule:
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name not in _KNOWN:
            raise NotSupported(f"{name} of a lifecycle is not supported here.")
    prefix = text_in(element, "Prefix")
    for each in children(element, "Filter"):
        for child in each:
            if child.tag.rpartition("}")[2] != "Prefix":
                raise NotSupported("A rule of a lifecycle is for a prefix here, and nothing else.")
        prefix = text_in(each, "Prefix")
    status = text_in(element, "Status").strip()
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML", "Status is Enabled or Disabled.")
    days = abort = noncurrent = None
    date = ""
    for each in children(element, "Expiration"):
        if text_in(each, "ExpiredObjectDeleteMarker").strip() == "true":
            raise NotSupported("ExpiredObjectDeleteMarker is not supported here.")
        days, date = _days(each, "Days"), text_in(each, "Date").strip()
        if (days is None) == (not date):
            raise S3Error("MalformedXML", "Expiration has Days, or a Date.")
    if date:
        date = _date(date)
    for each in children(element, "AbortIncompleteMultipartUpload"):
        abort = _days(each, "DaysAfterInitiation")
    for each in children(element, "NoncurrentVersionExpiration"):
        if text_in(each, "NewerNoncurrentVersions"):
            raise NotSupported("NewerNoncurrentVersions is not supported here.")
        noncurrent = _days(each, "NoncurrentDays")
    if days is None and not date and abort is None and noncurrent is None:
        raise S3Error("MalformedXML", "A rule says what is to happen, and when.")
    id = text_in(element, "ID") or secrets.token_hex(8)
    return Rule(id, prefix, status == "Enabled", days, date, abort, noncurrent)


def _days(element: ET.Element, name: str) -> int | None:
    text = text_in(element, name).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0):
        raise S3Error("InvalidArgument", f"{name} is a number of days, at least one.")
    return int(text)


def _date(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
        when = when.astimezone(UTC) if when.tzinfo else when
        day = when.date()
    except (ValueError, OverflowError):
        raise S3Error("MalformedXML", "Date is a day by ISO 8601.") from None
    if not 1970 <= day.year < 9000:
        raise S3Error("InvalidArgument", "Date is a day of our time.")
    if when.time() != time():
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT.")
    return day.isoformat()


def rules_document(rules: Sequence[Rule]) -> bytes:
    elements: list[Element] = []
    for rule in rules:
        inner: list[Element] = [
            ("ID", rule.id),
            ("Filter", [("Prefix", rule.prefix)]),
            ("Status", "Enabled" if rule.is_enabled else "Disabled"),
        ]
        if rule.days is not None:
            inner.append(("Expiration", [("Days", rule.days)]))
        if rule.date:
            inner.append(("Expiration", [("Date", f"{rule.date}T00:00:00.000Z")]))
        if rule.abort_days is not None:
            inner.append(("AbortIncompleteMultipartUpload", [("DaysAfterInitiation", rule.abort_days)]))
        if rule.noncurrent_days is not None:
            inner.append(("NoncurrentVersionExpiration", [("NoncurrentDays", rule.noncurrent_days)]))
        elements.append(("Rule", inner))
    return document("LifecycleConfiguration", elements)
