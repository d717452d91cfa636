"""Many small files in one request: as tar archives, and the report of what has become of them."""

import io
import json
import tarfile
import time
from collections.abc import Collection, Mapping
from typing import Any

from sfss.client.values import UnexpectedAnswer
from sfss.tar import END, entry, padding


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of *files*, contents by paths."""
    now = int(time.time())
    pieces = []
    for path, content in files.items():
        pieces += [entry(path, len(content), now), content, padding(len(content))]
    return b"".join((*pieces, END))


def unpacked(archive: bytes, wanted: Collection[str]) -> dict[str, bytes]:
    """The files of *archive*, of those that were *wanted*. :raises UnexpectedAnswer:"""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
            for member in opened:
                if member.issparse():
                    raise UnexpectedAnswer(
                        "The answer is no archive that sfss makes: a file in it is sparse."
                    )
                file = opened.extractfile(member)
                if file is not None and member.name in wanted:
                    found[member.name] = file.read()
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UnexpectedAnswer(f"The answer is no archive: {error}.") from None
    return found


def report_in(body: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Of each file what is said of it, by its path; and what the last line says of all. :raises UnexpectedAnswer:"""
    try:
        *lines, last = [json.loads(line) for line in body.splitlines()]
        said = {line["path"]: line for line in lines}
        if not isinstance(last["failed"], int):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UnexpectedAnswer("The answer is not the report of sfss; is this its URL?") from None
    return said, last
