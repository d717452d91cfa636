"""The entries of a tar archive that comes.

Sources: POSIX.1-2001 (pax, ustar: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) and GNU tar's
manual, "Basic Tar Format". Only what a file needs is understood: its name, its size, its bytes. Python's own module
was tried first. It takes what a header says for true: seen were headers of a few hundred bytes that kept it busy for
seconds or without end, or made it allocate gigabytes; and it takes a damaged or missing header for the end.
"""

import asyncio
import bz2
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from sfss.errors import InvalidRequest

_BLOCK = 512
#: What stands before an entry (a long name, other attributes) has no more. Bytes.
_MOST_MORE = 64 * 1024
#: No entry is larger. Bytes.
_MOST_SIZE = 1 << 50
#: So much behind the end of an archive is passed over. Bytes.
_MOST_BEHIND = 1024 * 1024
_AT_ONCE = 256 * 1024
_OCTAL = re.compile(rb"[\x00 ]*([0-7]*)[\x00 ]*")
#: The types of regular files, and of folders.
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
#: Those of entries that have no bytes: links and devices.
_WITHOUT_BYTES = (b"1", b"2", b"3", b"4", b"6")
_SPARSE, _HARD_LINK = b"S", b"1"
#: What the archives of other programs begin with.
_COMPRESSED = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip", b"LZIP": "lzip"}
_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL, _PAX_OF_SOLARIS = b"L", b"K", b"x", b"g", b"X"
#: What an entry is: a file, or one whose bytes are not all in the archive, a folder, or a link or device.
FILE, SPARSE, LINK, FOLDER, OTHER = "file", "sparse", "link", "folder", "other"


class NoArchive(InvalidRequest):
    """What came is not an archive, or not all of one."""

    def __init__(self, why: str):
        super().__init__(f"The archive cannot be read: {why}.")


class Entry(NamedTuple):
    name: str  #: bytes that are not UTF-8 are surrogates
    size: int
    kind: str  #: one of the words above

    @property
    def path(self) -> str:
        """Its name, as one below a folder."""
        return self.name.removeprefix("./").lstrip("/")


class Archive:
    """The entries of the archive whose bytes *pieces* are. :raises NoArchive:"""

    def __init__(self, pieces: AsyncIterator[bytes]):
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self._left = 0  # bytes of the entry that were not asked for, with what pads them

    async def next(self) -> Entry | None:
        """The next one; None: that was the last."""
        await self._skip(self._left)
        self._left = 0
        name, is_sparse = "", False
        size: int | None = None
        while True:
            block = await self._exactly(_BLOCK)
            if block.count(0) == _BLOCK:
                if size is not None or name:
                    raise NoArchive("it ends in the middle of an entry")
                await self._go_to_the_end()
                return None
            header = _header_in(block)
            if header.type in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL, _PAX_OF_SOLARIS):
                if header.size > _MOST_MORE:
                    raise NoArchive("what stands before an entry is too long")
                more = (await self._exactly(header.size + -header.size % _BLOCK))[: header.size]
                if header.type == _LONG_NAME:
                    name = more.partition(b"\0")[0].decode("utf-8", "surrogateescape")
                elif header.type == _PAX:
                    told = _pax_in(more)
                    name = told.get("GNU.sparse.name") or told.get("path") or name
                    is_sparse = any(key.startswith("GNU.sparse.") for key in told)
                    size = _number(told["size"]) if "size" in told else size
                continue
            if header.type == _SPARSE and block[482]:
                while (await self._exactly(_BLOCK))[504]:
                    continue  # it says where its bytes are
            if header.type in _WITHOUT_BYTES or header.type == _FOLDER:
                size = 0
            elif size is None:
                size = header.size
            self._left = size + -size % _BLOCK
            name = name or header.name
            if is_sparse or header.type == _SPARSE:
                return Entry(name, size, SPARSE)
            if header.type == _FOLDER or (header.type == b"\0" and name.endswith("/")):
                return Entry(name, size, FOLDER)
            kind = LINK if header.type == _HARD_LINK else FILE if header.type in _FILES else OTHER
            return Entry(name, size, kind)

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        """The bytes of *entry*, which is the last one that came."""
        left = entry.size
        while left:
            data = await self._some(min(left, _AT_ONCE))
            left -= len(data)
            self._left -= len(data)
            yield data

    async def whole(self, entry: Entry) -> bytes:
        """All of them together."""
        data = await self._exactly(entry.size)
        self._left -= entry.size
        return data

    async def _exactly(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            return data
        found = bytearray()
        while len(found) < size:
            found += await self._some(size - len(found))
        return bytes(found)

    async def _skip(self, size: int) -> None:
        while size:
            size -= len(await self._some(min(size, _AT_ONCE)))

    async def _go_to_the_end(self) -> None:
        """What is compressed has a checksum there; and who sends it may not look for an answer before."""
        left = _MOST_BEHIND
        while left > 0 and (data := await anext(self._pieces, b"")):
            left -= len(data)

    async def _some(self, most: int) -> bytes:
        """At least one byte."""
        while self._at == len(self._piece):
            self._piece, self._at = await anext(self._pieces, b""), 0
            if not self._piece:
                raise NoArchive("it is cut off")
        data = self._piece[self._at : self._at + most]
        self._at += len(data)
        return data


class _Header(NamedTuple):
    name: str
    size: int
    type: bytes


def _header_in(block: bytes) -> _Header:
    """:raises NoArchive:"""
    given = _octal(block[148:156])
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if given != checksum and given != checksum - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        # (Some programs added signed bytes.)
        for begin, program in _COMPRESSED.items():
            if block.startswith(begin):
                raise NoArchive(f"it is compressed by {program}, and not by gzip or bzip2")
        raise NoArchive("a header is damaged, or this is no tar")
    if block[124] & 0x80:  # GNU: the number itself
        size = int.from_bytes(block[125:136], "big") | (block[124] & 0x7F) << 88
    else:
        size = _octal(block[124:136])
    if size > _MOST_SIZE:
        raise NoArchive("an entry says that it has more bytes than there are")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return _Header(name.decode("utf-8", "surrogateescape"), size, block[156:157])


def _octal(text: bytes) -> int:
    match = _OCTAL.match(text)
    return int(match[1] or b"0", 8) if match else 0


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > _MOST_SIZE:
        raise NoArchive("the size of an entry is no number")
    return int(text)


def _pax_in(data: bytes) -> dict[str, str]:
    """Records of the form ``LENGTH KEY=VALUE\\n``. :raises NoArchive:"""
    found = {}
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 8)
        length = int(data[at:space]) if space > at and data[at:space].isdigit() else 0
        record = data[at : at + length]
        if length < 5 or not record.endswith(b"\n"):
            raise NoArchive("what stands before an entry is damaged")
        key, _, value = record[space - at + 1 : -1].partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found


# Compressed ones.


class _Gunzip:
    """As :class:`bz2.BZ2Decompressor`, of gzip."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


#: What decompresses each kind.
KINDS: dict[str, Callable[[], Any] | None] = {
    "tar": None,
    "tar.gz": _Gunzip,
    "tar.bz2": bz2.BZ2Decompressor,
}
_BEGINNINGS = {b"\x1f\x8b": "tar.gz", b"BZh": "tar.bz2"}


async def plain(body: AsyncIterator[bytes], kind: str | None = None) -> AsyncIterator[bytes]:
    """The bytes of *body*, decompressed, never many at once. *kind*: one of :data:`KINDS`; None: as it begins.

    :raises NoArchive: if what is compressed is damaged, or cut off.
    """
    begin = b""
    while len(begin) < 3 and (data := await anext(body, b"")):
        begin += data
    if kind is None:
        kind = next((kind for start, kind in _BEGINNINGS.items() if begin.startswith(start)), "tar")
    make = KINDS[kind]
    if make is None:
        if begin:
            yield begin
        async for data in body:
            yield data
        return
    data = begin
    while data:  # one stream behind the other: some programs write it so
        stream = make()
        while not stream.eof:
            if not data and stream.needs_input and not (data := await anext(body, b"")):
                raise NoArchive("it is cut off")
            try:
                found = stream.decompress(data, _AT_ONCE)
            except (OSError, ValueError, zlib.error) as error:
                raise NoArchive(str(error)) from None
            data = b""
            if found:
                yield found
                await asyncio.sleep(0)  # from a few bytes very many may come: others have their turn
        data = stream.unused_data or await anext(body, b"")
        if not data.strip(b"\0"):
            return  # some programs write zeros behind it
