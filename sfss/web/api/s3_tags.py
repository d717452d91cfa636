"""Tags of objects and buckets, as S3 has them: kept as the text of a query (``a=b&c=d``).

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

from sfss.http.messages import Headers
from sfss.web.api.object_headers import text_of
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_xml import children, document, read, text_in

#: The property that has them.
TAGS = "tags"
_MOST_KEY, _MOST_VALUE = 128, 256
_OF_OBJECTS, _OF_BUCKETS = 10, 50


def tags_in_header(headers: Headers) -> dict[str, str]:
    """The properties that ``x-amz-tagging`` asks for. :raises S3Error:"""
    if "x-amz-tagging" not in headers:
        return {}
    text = text_of(headers, "x-amz-tagging")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except (ValueError, UnicodeError):
        raise S3Error("InvalidArgument", "x-amz-tagging is no query of KEY=VALUE.") from None
    return {TAGS: _written(pairs, _OF_OBJECTS)} if pairs else {}


def tags_in(body: bytes, *, of_bucket: bool = False) -> str:
    """What a document asks for. :raises S3Error:"""
    root = read(body, "Tagging")
    pairs = [
        (text_in(tag, "Key"), text_in(tag, "Value"))
        for tags in children(root, "TagSet")
        for tag in children(tags, "Tag")
    ]
    return _written(pairs, _OF_BUCKETS if of_bucket else _OF_OBJECTS)


def _written(pairs: Sequence[tuple[str, str]], most: int) -> str:
    if len(pairs) > most:
        raise S3Error("BadRequest", f"There are at most {most} tags.")
    if len({key for key, _ in pairs}) != len(pairs):
        raise S3Error("InvalidTag", "There are two tags with one key.")
    if any(not 0 < len(key) <= _MOST_KEY or len(value) > _MOST_VALUE for key, value in pairs):
        raise S3Error(
            "InvalidTag", f"A tag has a key of 1 to {_MOST_KEY} characters, a value of {_MOST_VALUE}."
        )
    if any(key.lower().startswith("aws:") for key, _ in pairs):
        raise S3Error("InvalidTag", "Keys of tags that begin with aws: are not for clients.")
    return urlencode(pairs)


def tags_document(text: str) -> bytes:
    pairs = parse_qsl(text, keep_blank_values=True)
    return document(
        "Tagging", [("TagSet", [("Tag", (("Key", key), ("Value", value))) for key, value in pairs])]
    )


def count_of(text: str) -> int:
    return len(parse_qsl(text, keep_blank_values=True))
