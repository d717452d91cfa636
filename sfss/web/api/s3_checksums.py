"""Checksums of S3: of a body, of a part, and of an object that has come in parts.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol

from sfss.errors import NotSupported
from sfss.http.messages import Headers
from sfss.web.api.object_headers import CHECKSUM
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_xml import Element

ALGORITHM, TYPE, MODE = (CHECKSUM + name for name in ("algorithm", "type", "mode"))
#: The checksum of an object that has come in parts is that of their checksums, or of its bytes.
COMPOSITE, FULL_OBJECT = "COMPOSITE", "FULL_OBJECT"
#: The property of an upload that says which one.
_PROPERTY = "checksum"


class Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> Any: ...

    def digest(self) -> bytes: ...


class _Crc:
    """*step* gives the next value from data and the one before. *size* of it in bytes."""

    def __init__(self, step: Callable[[bytes | memoryview, int], int], size: int):
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size)


def _of_awscrt(name: str) -> Any:
    """Its function. :raises NotSupported: if the library is not installed."""
    try:
        from awscrt import checksums  # type: ignore[import-untyped]
    except ImportError:
        raise NotSupported(f"This server has no {name}: pip install sfss[objects].") from None
    return getattr(checksums, name)


def _combiner(name: str) -> Any:
    return _of_awscrt("combine_" + name.removeprefix(CHECKSUM))


#: By the name of the header that has it.
CHECKSUMS: dict[str, Callable[[], Digest]] = {
    CHECKSUM + "crc32": lambda: _Crc(zlib.crc32, 4),
    CHECKSUM + "crc32c": lambda: _Crc(_of_awscrt("crc32c"), 4),
    CHECKSUM + "crc64nvme": lambda: _Crc(_of_awscrt("crc64nvme"), 8),
    CHECKSUM + "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    CHECKSUM + "sha256": hashlib.sha256,
}
#: The element of a document that has it.
ELEMENTS = {name: "Checksum" + name.removeprefix(CHECKSUM).upper() for name in CHECKSUMS}
#: What says something of checksums, and is none.
_OTHERS = frozenset((ALGORITHM, TYPE, MODE))


def check_known(headers: Headers) -> None:
    """:raises NotSupported: if they have a checksum that nobody would look at."""
    for name in headers.raw:
        if name.startswith(CHECKSUM) and name not in CHECKSUMS and name not in _OTHERS:
            raise NotSupported(f"{name} is not supported here.")


def encoded(digest: Digest) -> str:
    return base64.b64encode(digest.digest()).decode()


def type_of(checksum: str) -> str:
    return COMPOSITE if "-" in checksum else FULL_OBJECT


def sums_in(metadata: Mapping[str, str]) -> dict[str, str]:
    """The checksums in the *metadata* of an object, by the names of their headers."""
    return {name: value for name, value in metadata.items() if name in CHECKSUMS}


def elements_of(metadata: Mapping[str, str]) -> list[Element]:
    """The same as a document has them."""
    return [(ELEMENTS[name], value) for name, value in sums_in(metadata).items()]


def asked_in(headers: Headers) -> str:
    """The name of the header that a copy, or an upload in parts, is to have. "": none. :raises S3Error:"""
    algorithm = headers.get(ALGORITHM).strip()
    if not algorithm:
        return ""
    name = CHECKSUM + algorithm.lower()
    if name not in CHECKSUMS:
        raise S3Error("InvalidRequest", f"Checksum algorithm provided is unsupported: {algorithm[:40]!r}.")
    return name


class OfUpload(NamedTuple):
    """What an upload in parts has said of its checksum. *name*: of its header; "": nothing."""

    name: str
    type: str

    @classmethod
    def asked(cls, headers: Headers) -> "OfUpload":
        """:raises S3Error:"""
        name, type = asked_in(headers), headers.get(TYPE).strip().upper()
        if type not in ("", COMPOSITE, FULL_OBJECT) or (type and not name):
            raise S3Error("InvalidRequest", f"{TYPE} is COMPOSITE or FULL_OBJECT, of an algorithm.")
        is_crc, is_whole_only = name.startswith(CHECKSUM + "crc"), name.endswith("crc64nvme")
        type = type or (FULL_OBJECT if is_whole_only else COMPOSITE)
        if name and (is_whole_only if type == COMPOSITE else not is_crc):
            raise S3Error("InvalidRequest", f"The {type} checksum type cannot be used with this algorithm.")
        if name:  # said now, if it cannot be made: each part, and what they are together
            CHECKSUMS[name]()
            if type == FULL_OBJECT:
                _combiner(name)
        return cls(name, type)

    @classmethod
    def kept(cls, properties: Mapping[str, str]) -> "OfUpload":
        name, _, type = properties.get(_PROPERTY, "").partition(" ")
        return cls(name, type)

    @property
    def properties(self) -> dict[str, str]:
        """Of the upload; the object does not get them."""
        return {_PROPERTY: f"{self.name} {self.type}"} if self.name else {}

    @property
    def headers(self) -> dict[str, str]:
        return {ALGORITHM: self.algorithm, TYPE: self.type} if self.name else {}

    @property
    def algorithm(self) -> str:
        return self.name.removeprefix(CHECKSUM).upper()

    def check_part(self, headers: Headers) -> None:
        """:raises S3Error: if the part has the checksum of another algorithm."""
        given = CHECKSUMS.keys() & {*headers.raw, headers.get("x-amz-trailer").strip().lower()}
        if self.name and given - {self.name}:
            raise S3Error(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {self.algorithm.lower()}, "
                f"actual checksum Type: {min(given - {self.name}).removeprefix(CHECKSUM)}",
            )

    def together(self, parts: Sequence[tuple[str, int]]) -> str:
        """That of an object of *parts*: the checksum of each, and how many bytes it has. :raises NotSupported:"""
        sums = [base64.b64decode(checksum) for checksum, _ in parts]
        if self.type == COMPOSITE:
            digest = CHECKSUMS[self.name]()
            digest.update(b"".join(sums))
            return f"{encoded(digest)}-{len(parts)}"
        combine = _combiner(self.name)
        numbers = [(int.from_bytes(each), size) for each, (_, size) in zip(sums, parts)]
        value, _ = reduce(lambda first, second: (combine(first[0], second[0], second[1]), 0), numbers)
        return base64.b64encode(value.to_bytes(len(sums[0]))).decode()


def without(properties: Mapping[str, str]) -> dict[str, str]:
    """Those that an object gets of its upload."""
    return {name: value for name, value in properties.items() if name != _PROPERTY}


def others_than_checksums(headers: Headers) -> Headers:
    """*headers* of a request whose checksums are not those of its body."""
    kept: Iterable[tuple[str, bytes]] = headers.raw.items()
    others = (CHECKSUM, "x-amz-sdk-checksum-")
    return Headers({name: value for name, value in kept if not name.startswith(others)})
