"""Files of sfss gateways, for code that has no event loop."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from sfss.django.failover import Failover
from sfss.django.http import Answer, ask, bearer
from sfss.django.listings import Document, listing_query
from sfss.models import etag_of

_ELSEWHERE = frozenset({502, 503, 504})


class GatewayError(OSError):
    """A gateway has refused, or none has answered. *status*: of HTTP; 0 for no answer."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status


class Exists(Exception):
    """There is a file of this name, and it is not to be written over."""


class Gateways:
    """Several gateways to the same files: each request goes to the first that answers.

    *urls*: ``http://host:port``. *timeout*: seconds for each step of one try.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float,
        read_token: str | None = None,
        write_token: str | None = None,
    ):
        self._urls = [url.rstrip("/") for url in urls]
        self._timeout = timeout
        self._tokens = {"GET": read_token, "HEAD": read_token, "PUT": write_token, "DELETE": write_token}
        self._failover = Failover()

    @staticmethod
    def target(path: str) -> str:
        return "/file?path=" + quote(path)

    def put(self, path: str, content: bytes, *, overwrite: bool) -> None:
        """:raises Exists: if there is one, and *overwrite* is false. :raises GatewayError:"""
        headers = {"Content-Type": "application/octet-stream"}
        if not overwrite:
            headers["If-None-Match"] = "*"
        answer, tries = self._ask("PUT", self.target(path), content, headers)
        if answer.status == 412 and not overwrite:
            if tries > 1 and self.has(path, content):
                return  # an earlier try has made it, whose answer was lost
            raise Exists(path)
        _check(answer, 200)

    def get(self, path: str) -> bytes:
        """:raises FileNotFoundError: :raises GatewayError:"""
        answer, _ = self._ask("GET", self.target(path))
        _check(answer, 200, path)
        return answer.body

    def head(self, path: str) -> Mapping[str, str]:
        """The head of a GET. :raises FileNotFoundError: :raises GatewayError:"""
        answer, _ = self._ask("HEAD", self.target(path))
        _check(answer, 200, path)
        return answer.headers

    def delete(self, path: str) -> None:
        """It is no error if there is none. :raises GatewayError:"""
        answer, _ = self._ask("DELETE", self.target(path))
        if answer.status != 404:
            _check(answer, 204)

    def listing(self, prefix: str, after: str, delimiter: str = "") -> Document:
        """The files whose paths begin with *prefix*. :raises NotImplementedError: :raises GatewayError:"""
        answer, _ = self._ask("GET", f"/files?{listing_query(prefix, after, delimiter)}")
        if answer.status in (405, 501):  # (405: it is older than listings)
            raise NotImplementedError(
                f"The gateway does not say which files there are ({_complaint(answer)})."
            )
        _check(answer, 200)
        document: Document = json.loads(answer.body)
        return document

    def has(self, path: str, content: bytes) -> bool:
        """Whether there is a file with this content. :raises GatewayError:"""
        try:
            return self.head(path).get("ETag") == f'"{etag_of(content)}"'
        except FileNotFoundError:
            return False

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, int]:
        """The answer, and how many were asked for it."""
        sent = bearer(self._tokens[method]) | dict(headers or {})

        def ask_one(url: str) -> Answer:
            return ask(method, url + target, body=body, headers=sent, timeout=self._timeout)

        asked = self._failover.ask(self._urls, ask_one, lambda answer: answer.status not in _ELSEWHERE)
        if asked.answer is None:
            raise GatewayError(f"no gateway answers: {'; '.join(asked.reasons)}")
        return asked.answer, asked.tries


def _check(answer: Answer, expected: int, path: str = "") -> None:
    if answer.status == expected:
        return
    if answer.status == 404 and path:
        raise FileNotFoundError(f"there is no file {path}")
    raise GatewayError(_complaint(answer), answer.status)


def _complaint(answer: Answer) -> str:
    """What the gateway says in its problem document (RFC 9457)."""
    try:
        return f"{answer.status}: {json.loads(answer.body)['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"it has answered {answer.status}"
