"""Authorization: tokens, networks and signed URLs. Everything is open until it is closed.

Two doors: writing, and reading. A request that is neither for the page nor a question whether the
process lives goes through one of them, whatever it asks for. A valid signature opens the door for
what was signed, in place of a token and of an address.

One door is never open: a page of another site does not write (its visitor may be inside of a network
that its author is not), unless CORS allows it. With a list of host names, no request for another name
is answered: a name that its owner lets point here gives no site the rights of this one (DNS rebinding).
"""

import hmac
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from sfss.config.credentials import Credentials
from sfss.config.server import UNIX, ServerSettings, split_network
from sfss.errors import Forbidden, Unauthorized
from sfss.http.messages import Headers, Request
from sfss.node_proofs import Verifier
from sfss.signing import check
from sfss.web.cors import Cors
from sfss.web.exposure import doors, exposures
from sfss.web.query import argument, file_in, names_a_file

#: What everybody may see, beside the page itself: it tells nothing about the files.
OPEN = frozenset(("/healthz", "/readyz", "/openapi.json"))
#: Balancers ask for these by an address, whatever the server's names are.
_OF_ANY_NAME = frozenset(("/healthz", "/readyz"))
_READING = frozenset(("GET", "HEAD"))

_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: An address as it stands in ``X-Forwarded-For``: some proxies put the port there, too.
_FORWARDED_V4 = re.compile(r"([0-9.]+)(?::[0-9]+)?")
_FORWARDED_V6 = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")


class Auth:
    """*open_paths* are for everybody. Requests to *nodes_path* come from other nodes. *check_origins*: whether a page
    could write in the name of who looks at it (not where each write needs a secret that no browser sends by itself).
    *is_reading*: which other requests than GET and HEAD only read.
    """

    def __init__(
        self,
        settings: ServerSettings,
        credentials: Credentials = Credentials(),
        *,
        cors: Cors,
        open_paths: frozenset[str] = OPEN,
        nodes_path: str | None = None,
        check_origins: bool = True,
        is_reading: Callable[[Request], bool] = lambda request: False,
    ):
        self._cors = cors
        self._checks_origins = check_origins
        self._open_paths = open_paths
        self._nodes_path = nodes_path
        self._is_reading = is_reading
        self._secret = ""
        self._nodes: Verifier | None = None
        self.use(settings, credentials)

    def use(self, settings: ServerSettings, credentials: Credentials) -> None:
        """Let in whom these allow, from now on."""
        #: A sentence for each door that stands open to a network.
        self.warnings = exposures(settings, credentials)
        #: For people: what may be done, and by whom.
        self.doors = doors(settings, credentials)
        if credentials.node_secret != self._secret:
            self._secret = credentials.node_secret
            self._nodes = Verifier(self._secret) if self._secret else None
        self._writers = tuple(token.encode() for token in credentials.write_tokens)
        # Write tokens also allow reading.
        self._readers = tuple(token.encode() for token in credentials.read_tokens) + self._writers
        self._keys = credentials.signing_keys
        self._networks = [split_network(text) for text in settings.allow_writes_from]
        trusted = settings.trust_forwarded_from
        self._trusted = [split_network(text) for text in trusted if text != UNIX]
        self._trusts_unix = UNIX in trusted
        self._hosts = frozenset(name.lower() for name in settings.allow_host)
        #: Whether nobody has to be asked anything.
        self.reads_open = not credentials.read_tokens
        #: Whether :meth:`check` would find nothing against any GET or HEAD.
        self.reads_are_free = self.reads_open and not self._hosts and not self._keys

    def check(self, request: Request) -> None:
        """Return if *request* may be answered.

        :raises Unauthorized: if it needs a token. :raises Forbidden: if it needs another address,
            another host name or origin, or its signature does not hold.
        """
        if request.path not in _OF_ANY_NAME:
            self._check_host(request.headers.get("host"))
        if request.path in self._open_paths and request.method in _READING:
            return
        if request.method not in _READING and self._checks_origins:
            self._check_origin(request)
        if self._keys and self._is_signed(request):
            return
        if request.method in _READING or self._is_reading(request):
            if not self.reads_open:
                self._check_token(request.headers, self._readers)
            return
        if request.path == self._nodes_path and (self._nodes or self._readers):
            self._check_node(request)
            return
        if self._networks:
            address = self.client_address(request)
            if not _is_in(address, self._networks):
                raise Forbidden("Writes are not allowed from this address.")
        if self._writers:
            self._check_token(request.headers, self._writers)

    def _check_host(self, host: str) -> None:
        if self._hosts and _name_in(host) not in self._hosts:
            raise Forbidden("This server is not known by this host name (see --allow-host).")

    def _check_origin(self, request: Request) -> None:
        """:raises Forbidden: if a page of another site sends this, and may not.

        Browsers say where a write comes from (https://fetch.spec.whatwg.org/#origin-header,
        https://www.w3.org/TR/fetch-metadata/), and no page can say otherwise.
        """
        headers = request.headers
        site = headers.get("sec-fetch-site").lower()
        if site == "same-origin":  # whatever a proxy has made of our name
            return
        if "origin" in headers:
            origin = headers["origin"]
            if _is_same(origin, headers.get("host")) or self._cors.allows(origin):
                return
        elif site != "cross-site":
            return
        raise Forbidden("A page of another site may not write here (--cors-origin allows those that may).")

    def _check_node(self, request: Request) -> None:
        """Nodes read and write everything: their secret opens all doors, and no token does."""
        if self._nodes is None:
            raise Forbidden("node_secret is not configured on this server: other nodes may not speak to it.")
        authorization = request.headers.get("authorization")
        request.claim = self._nodes.check(request.method, request.path, authorization)

    def client_address(self, request: Request) -> str:
        """Whose request it is: its peer, or whom trusted proxies name in their ``X-Forwarded-For``.

        A client that comes by a Unix socket is called ``unix``.

        Each proxy has put at the end of the list whom it was asked by, so it is read from there,
        for as long as the one who says it is trusted.
        """
        client = request.remote or UNIX
        if not self._trusted and not self._trusts_unix:
            return client
        forwarded = request.headers.get("x-forwarded-for")
        names = [name.strip() for name in forwarded.split(",")] if forwarded else []
        if client == UNIX and self._trusts_unix and names:
            client = _address_in(names.pop())
        while names and _is_in(client, self._trusted):
            client = _address_in(names.pop())
        return client

    def _is_signed(self, request: Request) -> bool:
        """Whether the URL of *request* has a signature, and it holds. :raises Forbidden: if not."""
        query = request.query
        signature = argument(query, "signature")
        # (A listing is no file: what opens one file does not open it.)
        is_upload = request.path == "/files" and request.method not in _READING
        if signature is None or not (is_upload or names_a_file(request)):
            return False
        request.limit = check(
            self._keys,
            request.method,
            file_in(request),
            expires=argument(query, "expires"),
            limit=argument(query, "limit"),
            signature=signature,
        )
        return True

    def _check_token(self, headers: Headers, tokens: tuple[bytes, ...]) -> None:
        # RFC 9110 11.1: the scheme is case-insensitive.
        scheme, _, token = headers.get("authorization").partition(" ")
        offered = token.strip().encode("utf-8", "surrogateescape")
        found = False
        for known in tokens:  # all of them: the time must not tell which one it was
            found |= hmac.compare_digest(known, offered)
        if scheme.lower() != "bearer":
            raise Unauthorized("This needs a token: Authorization: Bearer TOKEN.")
        if not found:
            raise Unauthorized("The token is not valid for this.")


def _is_same(origin: str, host: str) -> bool:
    """Whether *origin* (RFC 6454 7) is that of the server that *host* (RFC 9110 7.2) names.

    The scheme is not looked at: a proxy may have taken TLS off.
    """
    scheme, mark, authority = origin.lower().partition("://")
    if not mark:
        return False  # null, or no origin at all
    default = _DEFAULT_PORTS.get(scheme, "")
    return _with_port(authority, default) == _with_port(host.strip().lower(), default)


def _with_port(authority: str, default: str) -> str:
    has_port = re.search(r":[0-9]+\Z", authority) and not authority.endswith("]")
    return authority if has_port else f"{authority}:{default}"


def _name_in(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    return re.sub(r":[0-9]*\Z", "", host.strip().lower()).rstrip(".")


def _address_in(name: str) -> str:
    """The address in one part of ``X-Forwarded-For``; what is none stays as it is."""
    match = _FORWARDED_V4.fullmatch(name) or _FORWARDED_V6.fullmatch(name)
    return match[1] if match else name


def _is_in(address: str | None, networks: list[Any]) -> bool:
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False  # a name, garbage: no address of ours
    if parsed.version == 6 and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
