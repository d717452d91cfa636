"""From a path to a memcache key, exactly as earlier releases of sfss did.

base64 keeps white space and control characters out of the key, and ``?`` and ``@``, which
are commands to the Beansdb family, out of its first byte. Existing clusters, and every other
memcache client (nginx's ``memcached_pass`` too), find files under these keys.
"""

import base64
import hashlib
from binascii import b2a_base64

#: The protocol's limit (memcached's doc/protocol.txt, "Keys").
MAX_KEY_BYTES = 250

#: ``~`` is not in base64's alphabet: no path has this key.
PROBE_KEY = b"~sfss-probe"


def memcache_key(path: str) -> bytes:
    """``base64(path)``; over 250 bytes, ``~`` and the urlsafe base64 of the path's SHA-256."""
    encoded = path.encode()
    key = b2a_base64(encoded, newline=False)
    if len(key) <= MAX_KEY_BYTES:
        return key
    return b"~" + base64.urlsafe_b64encode(hashlib.sha256(encoded).digest())
