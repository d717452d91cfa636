"""The hashes of Beansdb: of keys, which say where a key lies, and of values (docs/stores.rst)."""

import mmh3

_PRIME, _BASIS = 0x01000193, 0x811C9DC5
#: Hash of the empty value.
EMPTY = _BASIS & 0xFFFF


def _fnv(data: bytes | bytearray) -> int:
    """FNV-1a, 32 bits, with bytes over 127 as the negative numbers that they are to C."""
    value = _BASIS
    for byte in data:
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = (value * _PRIME) & 0xFFFFFFFF
    return value


def key_hash(key: bytes) -> int:
    """Where *key* lies in the hash tree: 64 bits, of which the first are the bucket."""
    return _fnv(key) << 32 | mmh3.hash(key, 0, False)


def hash_text(hashed: int) -> bytes:
    """The 16 hex digits of a key's hash, as nodes write it."""
    return b"%016x" % hashed


def value_hash(value: bytes | bytearray) -> int:
    """16 bits that nodes keep of each value."""
    size = len(value)
    if size <= 1024:
        return (size * 97 + _fnv(value)) & 0xFFFF
    return ((size * 97 + _fnv(value[:512])) * 97 + _fnv(value[size - 512 :])) & 0xFFFF
