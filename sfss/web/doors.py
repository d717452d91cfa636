"""Who may come in: tokens, networks and signed URLs. All doors are open until they are closed.

Two doors: writing, and reading. A request that is neither for the page nor a question whether the
process lives goes through one of them, whatever it asks for. A valid signature opens the door for
what was signed, in place of a token and of an address.
"""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping

from aiohttp import web

from sfss.credentials import Credentials
from sfss.errors import Forbidden, Unauthorized
from sfss.settings import ServerSettings, split_network
from sfss.signing import check
from sfss.web.arguments import argument, path_argument

#: What everybody may see: it tells nothing about the files.
OPEN = frozenset(("/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"))
_READING = frozenset(("GET", "HEAD"))
#: The lines of its ``X-Forwarded-For``. (What was no HTTP has headers of another kind.)
FORWARDED = web.RequestKey("forwarded", list)
#: How many bytes may be put: the limit of a signature, None for no other than the service's.
LIMIT = web.RequestKey("limit", object)


class Doors:
    """*open_paths* are for everybody. Who sends to *nodes_path* is another node."""

    def __init__(
        self,
        settings: ServerSettings,
        credentials: Credentials = Credentials(),
        *,
        open_paths: frozenset[str] = OPEN,
        nodes_path: str | None = None,
    ):
        self._open_paths = open_paths
        self._nodes_path = nodes_path
        self.use(settings, credentials)

    def use(self, settings: ServerSettings, credentials: Credentials) -> None:
        """Let in whom these allow, from now on."""
        self._nodes = (credentials.node_secret.encode(),) if credentials.node_secret else ()
        self._writers = tuple(token.encode() for token in credentials.write_tokens)
        # Who may write may read.
        self._readers = tuple(token.encode() for token in credentials.read_tokens) + self._writers
        self._keys = credentials.signing_keys
        self._networks = [split_network(text) for text in settings.allow_writes_from]
        self._trusted = [split_network(text) for text in settings.trust_forwarded_from]
        #: Whether nobody has to be asked anything.
        self.reads_open = not credentials.read_tokens
        self.writes_open = not self._writers and not self._networks

    def check(self, request: web.Request) -> None:
        """Return if *request* may be answered.

        :raises Unauthorized: if it needs a token. :raises Forbidden: if it needs another address,
            or its signature does not hold.
        """
        if request.path in self._open_paths and request.method in _READING:
            return
        if self._keys and self._is_signed(request):
            return
        if request.method in _READING:
            if not self.reads_open:
                self._check_token(request.headers, self._readers)
            return
        if request.path == self._nodes_path and (self._nodes or self._readers):
            self._check_node(request)
            return
        if self._networks:
            address = self.client_address(request.remote, request.get(FORWARDED, ()))
            if not _is_in(address, self._networks):
                raise Forbidden("Writes are not allowed from this address.")
        if self._writers:
            self._check_token(request.headers, self._writers)

    def _check_node(self, request: web.Request) -> None:
        """Nodes read and write everything: their secret opens all doors, and no token does."""
        if not self._nodes:
            raise Forbidden("This server has no secret by which it would know another node.")
        self._check_token(request.headers, self._nodes)

    def client_address(self, peer: str | None, forwarded: Iterable[str]) -> str | None:
        """Whose request it is: *peer*, or whom trusted proxies name in their ``X-Forwarded-For``.

        Each proxy has put at the end of the list whom it was asked by, so it is read from there,
        for as long as the one who says it is trusted.
        """
        if not self._trusted:
            return peer
        names = [name.strip() for line in forwarded for name in line.split(",")]
        client = peer
        while names and _is_in(client, self._trusted):
            client = names.pop()
        return client

    def _is_signed(self, request: web.Request) -> bool:
        """Whether the URL of *request* has a signature, and it holds. :raises Forbidden: if not."""
        query = request.rel_url.raw_query_string
        signature = argument(query, "signature")
        if signature is None or request.path not in ("/file", "/files"):
            return False
        request[LIMIT] = check(
            self._keys,
            request.method,
            path_argument(request),
            expires=argument(query, "expires"),
            limit=argument(query, "limit"),
            signature=signature,
        )
        return True

    def _check_token(self, headers: Mapping[str, str], tokens: tuple[bytes, ...]) -> None:
        # RFC 9110 11.1: the scheme is case-insensitive.
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        offered = token.strip().encode("utf-8", "surrogateescape")
        found = False
        for known in tokens:  # all of them: the time must not tell which one it was
            found |= hmac.compare_digest(known, offered)
        if scheme.lower() != "bearer":
            raise Unauthorized("This needs a token: Authorization: Bearer TOKEN.")
        if not found:
            raise Unauthorized("The token is not valid for this.")


def _is_in(address: str | None, networks: list) -> bool:
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False  # a name, a port, garbage: no address of ours
    if parsed.version == 6 and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
