"""A file as it arrives, piece by piece."""

#: Pieces that are smaller are joined as they come: each by itself would take more memory than it holds. Bytes.
_SMALL = 4096
_JOINED = 64 * 1024


class Pieces:
    """Keeps about as much memory as it was given bytes, however small the pieces are."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray] = []
        self.size = 0  #: bytes

    def add(self, data: bytes) -> None:
        self.size += len(data)
        pieces = self._pieces
        if len(data) >= _SMALL or not pieces:
            pieces.append(data)
            return
        last = pieces[-1]
        if isinstance(last, bytearray) and len(last) < _JOINED:
            last += data
        else:
            pieces.append(bytearray(data))

    def taken(self) -> bytes:
        """All of it; it is not kept any more."""
        pieces, self._pieces = self._pieces, []
        first = pieces[0] if len(pieces) == 1 else b""
        return first if first and isinstance(first, bytes) else b"".join(pieces)
