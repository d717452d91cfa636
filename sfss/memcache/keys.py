"""From a path to a memcache key, exactly as earlier releases of sfss did.

base64 keeps white space and control characters out of the key, and ``?`` and ``@``, which
are commands to the Beansdb family, out of its first byte. Existing clusters, and every other
memcache client (nginx's ``memcached_pass`` too), find files under these keys.
"""

import base64
import hashlib
import random
from binascii import b2a_base64

#: The protocol's limit (memcached's doc/protocol.txt, "Keys").
MAX_KEY_BYTES = 250


def probe_key() -> bytes:
    """A key that no path has (``~`` is not in base64's alphabet), another one each time: one that
    lives on a node that is down must not speak for all others.
    """
    return b"~sfss-probe-%08x" % random.getrandbits(32)


def memcache_key(path: str) -> bytes:
    """``base64(path)``; over 250 bytes, ``~`` and the urlsafe base64 of the path's SHA-256."""
    encoded = path.encode()
    key = b2a_base64(encoded, newline=False)
    if len(key) <= MAX_KEY_BYTES:
        return key
    return b"~" + base64.urlsafe_b64encode(hashlib.sha256(encoded).digest())
