"""Media servers: anything that takes PUT and DELETE at the URL under which it serves."""

import json
import logging
import threading
import time
from http.client import responses
from urllib.error import HTTPError

from sfss.django.http import Answer, NoAnswer, ask, bearer
from sfss.django.listings import Document, listing_query

log = logging.getLogger("sfss.django")

#: A host that did not answer is not asked for so long, seconds; doubled each time, up to the second.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: Request Timeout, Client Closed Request (nginx), Bad Gateway, Gateway Timeout.
_GIVEN_UP = frozenset({408, 499, 502, 504})
#: A server that takes longer for more than this is not away.
_SMALL = 1024 * 1024


class UnexpectedStatusCode(HTTPError):
    """The answer of a media server is none that it should give.

    *is_ambiguous*: something before it has given up, and it may do all the same what it was asked.
    """

    def __init__(self, url: str, answer: Answer):
        self.is_ambiguous = answer.status in _GIVEN_UP
        reason = responses.get(answer.status, "unknown")
        super().__init__(url, answer.status, reason, dict(answer.headers), None)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.url} has answered {self.code} {self.reason}"


class MediaTransport:
    """What storages do to one media server. *host* is ``name:port``; *url* the path of the URL of the file.

    *timeout*: seconds for each step. *token*: sent as ``Authorization: Bearer``. *scheme*: http or https.
    """

    def __init__(self, timeout: float = 2.0, token: str | None = None, scheme: str = "http"):
        self.timeout = timeout
        self.token = token
        self.scheme = scheme

    def content(self, host: str, url: str) -> bytes:
        """The content of a file. :raises FileNotFoundError:"""
        return self._of_file("GET", host, url).body

    def exists(self, host: str, url: str) -> bool:
        """Whether there is a file."""
        answer = self._http_request("HEAD", host, url)
        if answer.status in (404, 410):
            return False
        self._expect(answer, host, url, 200)
        return True

    def size(self, host: str, url: str) -> int:
        """Of a file, in bytes. :raises FileNotFoundError:"""
        return int(self._of_file("HEAD", host, url).headers["Content-Length"])

    def create(self, host: str, url: str, content: bytes) -> bool:
        """Put a file there. Whether there was one already; that is logged."""
        answer = self._http_request("PUT", host, url, content)
        if answer.status == 201:
            return False
        self._expect(answer, host, url, 204)
        log.warning("a file was written over", extra={"host": host, "url": url})
        return True

    def delete(self, host: str, url: str) -> bool:
        """Whether there was a file; if not, that is logged."""
        answer = self._http_request("DELETE", host, url)
        if answer.status in (200, 204):
            return True
        self._expect(answer, host, url, 404, 410)
        log.warning("there was no file to delete", extra={"host": host, "url": url})
        return False

    def listing(self, host: str, prefix: str, after: str = "", delimiter: str = "") -> Document | None:
        """What a node has, as its ``GET /_files`` tells; None: this server does not say it."""
        url = f"/_files?{listing_query(prefix, after, delimiter)}"
        answer = self._http_request("GET", host, url)
        if answer.status >= 500 and answer.status != 501:
            raise UnexpectedStatusCode(self._get_url(host, url), answer)
        try:
            document = json.loads(answer.body) if answer.status == 200 else None
        except ValueError:
            return None  # some other page
        is_listing = isinstance(document, dict) and {"files", "next"} <= document.keys()
        return document if is_listing else None

    # To be overridden.

    def _get_url(self, host: str, url: str) -> str:
        return f"{self.scheme}://{host}{url}"

    def _http_request(self, method: str, host: str, url: str, content: bytes | None = None) -> Answer:
        """:raises NoAnswer:"""
        DOWN.check(host)
        try:
            answer = ask(
                method,
                self._get_url(host, url),
                body=content,
                headers=bearer(self.token),
                timeout=self.timeout,
            )
        except NoAnswer as error:
            if not error.is_ambiguous or content is None or len(content) <= _SMALL:
                DOWN.add(host)
            raise NoAnswer(f"{host} gives no answer: {error}", error.is_ambiguous) from error
        DOWN.remove(host)
        return answer

    def _of_file(self, method: str, host: str, url: str) -> Answer:
        answer = self._http_request(method, host, url)
        if answer.status == 404:
            raise FileNotFoundError(f"{host} has no file {url}")
        self._expect(answer, host, url, 200)
        return answer

    def _expect(self, answer: Answer, host: str, url: str, *statuses: int) -> None:
        if answer.status not in statuses:
            raise UnexpectedStatusCode(self._get_url(host, url), answer)


class _Down:
    """Which hosts did not answer: they are left alone for a while, so that nobody waits for each of them again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, float]] = {}  # host -> when (monotonic), and the pause

    def check(self, host: str) -> None:
        """:raises NoAnswer: if it is to be left alone."""
        until, _ = self._until.get(host, (0.0, 0.0))
        if time.monotonic() < until:
            raise NoAnswer(f"{host} did not answer a moment ago", is_ambiguous=False)

    def add(self, host: str) -> None:
        with self._lock:
            _, pause = self._until.get(host, (0.0, 0.0))
            pause = min(pause * 2 or _FIRST_PAUSE, _LONGEST_PAUSE)
            self._until[host] = (time.monotonic() + pause, pause)

    def remove(self, host: str) -> None:
        if host in self._until:
            with self._lock:
                self._until.pop(host, None)

    def forget(self) -> None:
        """All of them: in tests."""
        with self._lock:
            self._until.clear()


DOWN = _Down()
