"""How two nodes show each other that they know the same secret, without ever sending it.

A challenge and an answer in both directions, as in HTTP's Digest scheme (RFC 7616) with HMAC-SHA256 (RFC 2104):

* The server gives a *nonce*, which is valid for ten minutes by its own clock: those of nodes may be wrong.
* The client proves a request by the HMAC of method, target, nonce, a *counter* that goes up with each request,
  a number of its own, and the SHA-256 of the body. The server takes each counter of a nonce once, and knows
  no nonce of an earlier life of its own: what was recorded is of no use.
* The server proves its answer by the HMAC of the same numbers, the status, and the SHA-256 of the answer. Who
  does not know the secret can neither ask nor answer.

In headers: ``WWW-Authenticate: SFSS-Node nonce="…"``, ``Authorization: SFSS-Node nonce="…", …``, and
``X-SFSS-Proof`` and ``X-SFSS-Nonce`` (the next one) of an answer.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import sha256

from sfss.errors import PeerUnknown

SCHEME = "SFSS-Node"
PROOF_HEADER = "X-SFSS-Proof"
NONCE_HEADER = "X-SFSS-Nonce"

#: How long a nonce is valid, and from when on the next one comes with an answer. Seconds.
_LIFETIME = 600
_RENEWED_AFTER = 300
#: Requests may overtake each other by so many.
_WINDOW = 1024

_NONCE = re.compile(r"(?P<text>(?P<time>[0-9]{1,15})-[0-9a-f]{16})-(?P<mac>[0-9a-f]{32})")
_FIELD = re.compile(r'([a-z]+)="([0-9A-Za-z-]*)"')


def _proof(secret: str, *parts: object) -> str:
    text = "\n".join(map(str, parts))
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def _fields(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    return dict(_FIELD.findall(rest)) if scheme == SCHEME else {}


class Claim:
    """A request whose head proves that it comes from a node; its body has still to be looked at."""

    def __init__(self, secret: str, numbers: tuple[str, ...], digest: str, next_nonce: str):
        self._secret = secret
        self._numbers = numbers
        self._digest = digest
        self._next_nonce = next_nonce

    def check_body(self, body: bytes) -> None:
        """:raises PeerUnknown: if it is not the one that was proved."""
        if not _are_equal(sha256(body).hexdigest(), self._digest):
            raise PeerUnknown("The body is not the one that the node has proved.")

    def headers_of_answer(self, status: int, body: bytes) -> dict[str, str]:
        """What proves the answer."""
        digest = sha256(body).hexdigest()
        headers = {PROOF_HEADER: _proof(self._secret, "answer", *self._numbers, status, digest)}
        return headers | ({NONCE_HEADER: self._next_nonce} if self._next_nonce else {})


class Verifier:
    """Knows other nodes by *secret*. *now*: a clock that never goes back, in seconds."""

    def __init__(self, secret: str, now: Callable[[], float] = time.monotonic):
        self._secret = secret
        self._now = now
        self._key = secrets.token_bytes(32)
        # Of each nonce that was used: the highest counter, and which of those below it were taken.
        self._taken: dict[str, tuple[int, int]] = {}

    def challenge(self, reason: str) -> PeerUnknown:
        """What to answer to a client that has proved nothing."""
        return PeerUnknown(reason, f'{SCHEME} nonce="{self._nonce()}"')

    def check(self, method: str, target: str, authorization: str) -> Claim:
        """:raises PeerUnknown: if the header does not prove that a node has sent the request."""
        fields = _fields(authorization)
        names = ("nonce", "counter", "number", "digest", "proof")
        if any(name not in fields for name in names):
            raise self.challenge("Only nodes that know the node secret may speak here.")
        nonce, counter, number, digest, proof = (fields[name] for name in names)
        expected = _proof(self._secret, "request", method, target, nonce, counter, number, digest)
        if not _are_equal(proof, expected):
            raise self.challenge("The proof does not hold: is the node secret the same on both?")
        given = self._given(nonce)
        if given is None or self._now() - given > _LIFETIME or not self._take(nonce, counter):
            raise self.challenge("The nonce is not valid any more.")
        next_nonce = self._nonce() if self._now() - given > _RENEWED_AFTER else ""
        return Claim(self._secret, (nonce, counter, number), digest, next_nonce)

    def _nonce(self) -> str:
        text = f"{int(self._now())}-{secrets.token_hex(8)}"
        return f"{text}-{self._mac(text)}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), sha256).hexdigest()[:32]

    def _given(self, nonce: str) -> int | None:
        """When *nonce* was given; None if it is none of ours."""
        match = _NONCE.fullmatch(nonce)
        if match is None or not _are_equal(match["mac"], self._mac(match["text"])):
            return None
        return int(match["time"])

    def _take(self, nonce: str, counter: str) -> bool:
        """Whether *counter* was not used with *nonce*; from now on it was."""
        if not counter.isdigit() or len(counter) > 15:
            return False
        number = int(counter)
        if nonce not in self._taken:
            self._forget()
        highest, bits = self._taken.get(nonce, (-1, 0))
        if number > highest:
            bits = (bits << min(number - highest, _WINDOW)) | 1
            self._taken[nonce] = number, bits & ((1 << _WINDOW) - 1)
            return True
        behind = highest - number
        if behind >= _WINDOW or bits >> behind & 1:
            return False
        self._taken[nonce] = highest, bits | 1 << behind
        return True

    def _forget(self) -> None:
        oldest = self._now() - _LIFETIME
        for nonce in [n for n in self._taken if (self._given(n) or 0) < oldest]:
            del self._taken[nonce]


class Prover:
    """Proves the requests of this node to one other node."""

    def __init__(self, secret: str):
        self._secret = secret
        self._nonce = ""
        self._counter = 0

    @property
    def has_nonce(self) -> bool:
        return bool(self._nonce)

    def take_challenge(self, header: str) -> bool:
        """Whether the ``WWW-Authenticate`` of an answer is a challenge; it is used from now on."""
        nonce = _fields(header).get("nonce", "")
        if nonce:
            self._nonce, self._counter = nonce, 0
        return bool(nonce)

    def request(self, method: str, target: str, body: bytes) -> "Proved":
        self._counter += 1
        numbers = (self._nonce, str(self._counter), secrets.token_hex(16))
        digest = sha256(body).hexdigest()
        proof = _proof(self._secret, "request", method, target, *numbers, digest)
        named = zip(("nonce", "counter", "number", "digest", "proof"), (*numbers, digest, proof))
        header = f"{SCHEME} " + ", ".join(f'{name}="{value}"' for name, value in named)
        return Proved(self, header, numbers)

    def holds(self, numbers: tuple[str, ...], status: int, headers: Mapping[str, str], body: bytes) -> bool:
        digest = sha256(body).hexdigest()
        expected = _proof(self._secret, "answer", *numbers, status, digest)
        if not _are_equal(headers.get(PROOF_HEADER, ""), expected):
            return False
        if headers.get(NONCE_HEADER) and numbers[0] == self._nonce:
            self._nonce, self._counter = headers[NONCE_HEADER], 0
        return True


class Proved:
    """A request with its proof."""

    def __init__(self, prover: Prover, authorization: str, numbers: tuple[str, ...]):
        self.authorization = authorization
        self._prover = prover
        self._numbers = numbers

    def is_answered_by(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the server that has answered knows the secret."""
        return self._prover.holds(self._numbers, status, headers, body)


def _are_equal(given: str, expected: str) -> bool:
    """In the same time, however much of it is right. (Headers may hold any bytes: aiohttp's surrogates.)"""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
