"""The operations of a server, without I/O: what each asks, what it makes of the answers, and what it tries again.

The two clients have them as methods of the same names. Here each is a generator (:data:`sfss.client.exchanges.Steps`).
All operations raise ServerUnreachable when there is no answer after the last try, and the SfssError of the status
(NotFound, NoStoreAvailable, ...) when the server says no.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from sfss.client.archives import packed, report_in, unpacked
from sfss.client.contents import Content, Source
from sfss.client.exchanges import Answer, NoAnswer, Request, Steps
from sfss.client.retries import WORTH_A_RETRY, Retries
from sfss.client.values import (
    Page,
    ServerUnreachable,
    Stored,
    UnexpectedAnswer,
    document_in,
    error_of,
    page_in,
)
from sfss.errors import InvalidRequest, NotFound, SfssError
from sfss.models import SERVER_HEADER, FileInfo, etag_of
from sfss.paths import PLAIN_IN_A_URL, check_path

_EXPECTED: dict[str, dict[str, tuple[int, ...]]] = {
    "gateway": {"GET": (200,), "HEAD": (200,), "PUT": (200,), "POST": (200,), "DELETE": (204,)},
    # 302: a file of this name and content is there already.
    "node": {"GET": (200,), "HEAD": (200,), "PUT": (201, 204, 302), "POST": (200,), "DELETE": (200, 204)},
}


class Operations:
    """What is known of the server at *url*, and its operations. See :class:`sfss.client.base.BaseClient`."""

    def __init__(self, url: str, *, retries: int, retry_for: float | None, server: str | None):
        self._url = url
        self._retries = retries
        self._retry_for = retry_for
        self._has_answered = False
        self._finds_out = server is None
        self.server = server  #: ``gateway``, ``node``, or None: nobody knows yet

    def put(
        self,
        path: str,
        content: Source,
        *,
        if_match: str | None = None,
        only_if_new: bool = False,
    ) -> Steps[Stored]:
        """Keep *content* under *path*: bytes, a binary file (from where it stands to its end), or an iterable of
        pieces, which is sent as it comes, and once.

        *if_match*: only if the file's ETag is this one. *only_if_new*: only if there is no file.

        :raises PreconditionFailed: if that does not hold. After a retry it may be the first
            try's own success that is in the way.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if if_match is not None:
            if not is_plain(if_match):
                raise InvalidRequest(f"if_match is {if_match!r}; that is no ETag.")
            headers["If-Match"] = f'"{if_match}"'
        if only_if_new:
            headers["If-None-Match"] = "*"
        sent = Content(content)
        if sent.size is None:  # it cannot be sent again in the other form
            yield from self.kind()
        answer = yield from self._exchange("PUT", lambda: self.target_of(path), sent, headers)
        size, etag = sent.sent
        # The server says what it keeps; if that is not what was sent, it must not pass for it.
        if answer.headers.get("ETag") != f'"{etag}"':
            raise UnexpectedAnswer(f"ETag mismatch after the upload of {path!r}.")
        name = document_in(answer.body).get("path") if answer.body else path
        return Stored(size, etag, name if isinstance(name, str) else path)

    def get(self, path: str) -> Steps[bytes]:
        """The content of the file, whole. :raises NotFound:"""
        answer = yield from self._exchange("GET", lambda: self.target_of(path))
        check_etag(path, answer.headers, etag_of(answer.body))
        return answer.body

    def opened(self, path: str) -> Steps[Answer]:
        """The file's answer, whose body is still to be read. :raises NotFound:"""
        return self._exchange("GET", lambda: self.target_of(path), is_streamed=True)

    def archive_opened(self, prefix: str = "") -> Steps[Answer]:
        """The answer that is a tar archive of all files whose paths begin with *prefix*, still to be read.

        :raises CannotList: if the store does not say which these are. :raises Forbidden: if the server does not.
        """
        resource = yield from self._resource("archive")
        target = f"/{resource}?{urlencode({'prefix': prefix})}"
        return (yield from self._exchange("GET", lambda: target, is_streamed=True))

    def head(self, path: str) -> Steps[Mapping[str, str]]:
        """What the server says of the file: the headers of its answer. :raises NotFound:"""
        try:
            answer = yield from self._exchange("HEAD", lambda: self.target_of(path))
        except NotFound:  # (its answer has no body that could say so)
            raise NotFound.of(path) from None
        return answer.headers

    def stat(self, path: str) -> Steps[FileInfo]:
        """The file's size and ETag. :raises NotFound:"""
        headers = yield from self.head(path)
        try:
            return FileInfo(int(headers["Content-Length"]), headers["ETag"].strip('"'))
        except (KeyError, ValueError):
            raise UnexpectedAnswer(f"The answer for {path!r} is not one of sfss.") from None

    def delete(self, path: str) -> Steps[None]:
        """Delete the file. :raises NotFound: if there was no file (not when a retry finds it gone)."""
        yield from self._exchange("DELETE", lambda: self.target_of(path))

    # Many at once.

    def list_page(
        self, prefix: str = "", *, delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Steps[Page]:
        """Which files there are whose paths begin with *prefix*. *after*: what the page before had as ``next``.

        :raises CannotList: if the store does not say that. :raises Forbidden: if the server does not.
        """
        query = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": str(limit)}
        resource = yield from self._resource("files")
        target = f"/{resource}?{urlencode({name: value for name, value in query.items() if value})}"
        answer = yield from self._exchange("GET", lambda: target)
        page = page_in(document_in(answer.body))
        if page.next is not None and page.next == after:
            raise UnexpectedAnswer("The listing of the server does not go on.")
        return page

    def get_many(self, paths: Iterable[str]) -> Steps[dict[str, bytes]]:
        """The contents of those that are there, by their paths. They are in memory together, and are few enough for
        that. It is tried once: one that the store cannot read ends all of them, and then ``get`` tells which.
        """
        target = f"/{(yield from self._resource('archive'))}"
        wanted = set(several(paths))
        answer = yield from self._exchange(
            "POST",
            lambda: target,
            Content(json.dumps(sorted(wanted)).encode()),
            {"Content-Type": "application/json"},
            retries=Retries(0, None),
        )
        return unpacked(answer.body, wanted)

    def put_many(self, files: Mapping[str, bytes]) -> Steps[dict[str, Stored | SfssError]]:
        """Keep *files*, contents by paths; what has become of each, by its path. How many: see ``get_many``.

        :raises SfssError: what is wrong with the server or its store; a part of them may be kept.
        """
        target = f"/{(yield from self._resource('archive'))}"
        outcomes: dict[str, Stored | SfssError] = {}
        waiting = dict(files)
        for path in files:
            try:
                check_path(path)
            except InvalidRequest as error:  # in an archive it might be the name of another file
                outcomes[path] = error
                del waiting[path]
        retries = self._new_retries()
        pause: float | None = 0.0
        while waiting:
            answer = yield from self._exchange(
                "POST",
                lambda: target,
                Content(packed(waiting)),
                {"Content-Type": "application/x-tar"},
                is_answer=_is_report,
                pause=pause or 0.0,
            )
            said, last = report_in(answer.body)
            for path in list(waiting.keys() & said.keys()):
                line = said[path]
                if line.get("etag") == etag_of(waiting[path]):
                    content = waiting.pop(path)
                    outcomes[path] = Stored(len(content), line["etag"], line.get("name", path))
                elif line.get("status") not in WORTH_A_RETRY:
                    del waiting[path]
                    detail = line.get("error") or f"ETag mismatch after the upload of {path!r}."
                    outcomes[path] = error_of(line.get("status", 0), detail)
            status = last.get("status", 0)  # of what has ended it before it was all taken
            if waiting and not status:
                raise UnexpectedAnswer("The server has not taken all of an archive, and does not say why.")
            if not status or (status in WORTH_A_RETRY and not waiting):
                continue
            pause = retries.next_pause(answer.headers) if status in WORTH_A_RETRY else None
            if pause is None:
                details = [line["error"] for line in said.values() if line.get("status") == status]
                raise error_of(status, (details or [last.get("error", "")])[0])
        return outcomes

    # The server itself.

    def kind(self) -> Steps[str]:
        """``gateway`` or ``node``."""
        if self.server is None:  # (a node may have a file of any name that a gateway has for something else)
            answer = yield from self._exchange("GET", lambda: "/healthz")
            self.server = "node" if answer.headers.get(SERVER_HEADER) == "node" else "gateway"
        return self.server

    def _resource(self, name: str) -> Steps[str]:
        """What the server calls it: nodes have files at all other URLs."""
        return f"_{name}" if (yield from self.kind()) == "node" else name

    def status(self, *, full: bool = False) -> Steps[dict[str, Any]]:
        """The figures of ``GET /status``, or of a node's ``GET /_status``."""
        is_node = (yield from self.kind()) == "node"
        target = "/_status" if is_node else f"/status?full={int(full)}"
        answer = yield from self._exchange("GET", lambda: target)
        return document_in(answer.body)

    def target_of(self, path: str) -> str:
        """The file's, as far as it is known what kind the server is. :raises InvalidPath:"""
        # Encoded here, all of it: nothing on the way shall decode or normalize it.
        check_path(path)
        if self.server == "node":
            return f"/{quote(path, safe=PLAIN_IN_A_URL)}"
        return f"/file?path={quote(path, safe='/')}"

    def _new_retries(self) -> Retries:
        """(A server that has never answered may be none.)"""
        return Retries(self._retries, self._retry_for if self._has_answered else None)

    def _exchange(
        self,
        method: str,
        target: Callable[[], str],
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        is_answer: Callable[[int, Mapping[str, str]], bool] = lambda status, headers: False,
        retries: Retries | None = None,
        pause: float = 0.0,
        is_streamed: bool = False,
    ) -> Steps[Answer]:
        """The answer, once there is one. *is_answer*: which others are answers, beside those of success."""
        retries = retries or self._new_retries()
        while True:
            kind = self.server or "gateway"  # others may find out meanwhile
            request = Request(method, target(), content, headers or {}, pause, is_streamed)
            try:
                answer = yield request
            except NoAnswer as error:
                again = self._next_pause(retries, content)
                if again is None:
                    raise ServerUnreachable(f"{self._url}: {error}") from error
                pause = again
                continue
            self._has_answered = True
            status = answer.status
            if status in _EXPECTED[kind][method] or is_answer(status, answer.headers):
                return answer
            if method == "DELETE" and status == 404 and retries.tries:
                return answer
            if self._finds_out and kind != "node" and answer.headers.get(SERVER_HEADER) == "node":
                self.server = "node"  # it has refused what only a gateway knows
                if content is None or content.is_repeatable:
                    pause = 0.0
                    continue
            again = self._next_pause(retries, content, answer.headers) if status in WORTH_A_RETRY else None
            if again is None:
                raise self._error_of(method, answer)
            pause = again

    def _error_of(self, method: str, answer: Answer) -> SfssError:
        """What an answer without success says."""
        said = _detail(answer.body)
        if said or method == "HEAD":
            return error_of(answer.status, said or f"HEAD was answered with status {answer.status}.")
        said = f"{self._url}: {method} was answered with status {answer.status}, and not as sfss does; is this its URL?"
        # (What sfss cannot do it says.)
        return UnexpectedAnswer(said) if answer.status == 501 else error_of(answer.status, said)

    @staticmethod
    def _next_pause(
        retries: Retries, content: Content | None, headers: Mapping[str, str] | None = None
    ) -> float | None:
        if content is not None and not content.is_repeatable:
            return None
        return retries.next_pause(headers)


def is_plain(text: str) -> bool:
    """Whether it may stand in a header as it is (RFC 9110 5.5; without spaces)."""
    return bool(text) and text.isascii() and text.isprintable() and not set(text) & {" ", '"'}


def several(paths: Iterable[str]) -> Iterable[str]:
    """:raises InvalidRequest: if it is one, whose letters would be taken for paths."""
    if isinstance(paths, str):
        raise InvalidRequest("paths is a str; it must be a list, or another iterable, of paths.")
    return paths


def check_etag(path: str, headers: Mapping[str, str], etag: str) -> None:
    """:raises UnexpectedAnswer: if what came has the ETag *etag*, and another one was said."""
    if headers.get("ETag") != f'"{etag}"':
        raise UnexpectedAnswer(f"What came for {path!r} is not what its ETag says.")


def _is_report(status: int, headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Type", "").startswith("application/x-ndjson")


def _detail(body: bytes) -> str:
    """What a problem document says."""
    try:
        return str(document_in(body)["detail"])
    except (UnexpectedAnswer, KeyError):
        return ""
