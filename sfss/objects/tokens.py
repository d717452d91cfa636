"""Tokens of Swift: signed, so that every gateway over the same catalog knows them, and none has to keep them."""

import base64
import binascii
import hmac
import json
import time
from typing import NamedTuple

from sfss.objects.models import User

_PREFIX = "AUTH_tk"
_MAC_BYTES = 16


class Token(NamedTuple):
    """What stands in one."""

    account: str
    user: str
    expires: int  #: seconds since the epoch
    generation: int  #: of the user: another key ends it


def make_token(secret: bytes, user: User, lifetime: float) -> tuple[str, int]:
    """A token for *user*, and when it expires."""
    expires = int(time.time() + lifetime)
    document = json.dumps([user.account_name, user.name, expires, user.generation], separators=(",", ":"))
    body = document.encode()
    return _PREFIX + base64.urlsafe_b64encode(_mac(secret, body) + body).decode().rstrip("="), expires


def read_token(secret: bytes, text: str) -> Token | None:
    """What stands in it, whether it has expired or not; None: it is none of ours."""
    if not text.startswith(_PREFIX) or not text.isascii():
        return None
    encoded = text.removeprefix(_PREFIX)
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, body = data[:_MAC_BYTES], data[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, body)):
        return None
    return Token(*json.loads(body))


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, "sha256")[:_MAC_BYTES]
