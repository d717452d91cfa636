"""Documents of S3: written as lists of elements, and read with suspicion."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sfss.web.api.object_headers import xml_text
from sfss.web.api.s3_errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
#: A name, and what is in it: text, or more elements.
Element = tuple[str, "str | int | bool | Raw | Sequence[Element]"]


class Raw(NamedTuple):
    """Elements that are written already."""

    text: str


def document(name: str, elements: Sequence[Element]) -> bytes:
    root = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">'
    return (root + "".join(map(_written, elements)) + f"</{name}>").encode()


def _written(element: Element) -> str:
    name, value = element
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Raw):
        text = value.text
    elif isinstance(value, str | int):
        text = xml_text(str(value))
    else:
        text = "".join(map(_written, value))
    return f"<{name}>{text}</{name}>"


def read(body: bytes, root: str) -> ET.Element:
    """The element *root* that *body* is. :raises S3Error: if it is none."""
    # Entities and document types are what makes XML dangerous, and no client of S3 has any.
    try:
        text = body.decode()  # (in another encoding they would look otherwise)
        if "<!" in text.replace("<![CDATA[", ""):
            raise S3Error("MalformedXML", "The XML has a document type, or a comment.")
        element = ET.fromstring(text)
    except (ET.ParseError, ValueError, LookupError):
        raise S3Error("MalformedXML", "The body is not well-formed XML.") from None
    if element.tag.rpartition("}")[2] != root:
        raise S3Error("MalformedXML", f"The body is not a {root}.")
    return element


def children(element: ET.Element, name: str) -> Iterable[ET.Element]:
    return (child for child in element if child.tag.rpartition("}")[2] == name)


def text_in(element: ET.Element, name: str) -> str:
    """The text of the first child of that name, "" if there is none."""
    return next((child.text or "" for child in children(element, name)), "")


def time_text(us: int) -> str:
    """With milliseconds: ``aws s3 sync`` sends again what seems older than the local file, and s5cmd does not
    see what seems to be of the future, so neither may be rounded to a second. (Cut to one, it is ``Last-Modified``.)
    """
    when = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{us // 1000 % 1000:03}Z"
