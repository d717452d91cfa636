"""The body of an upload, raw or as a form, into bytes, within its limits.

Nothing is read of a body whose announced length is over the limit, and nothing behind the
byte that exceeds it.
"""

from typing import Protocol

from sfss.errors import FileTooLarge, InvalidRequest, UnknownExpectation, UnsupportedEncoding
from sfss.http.messages import Request
from sfss.web.forms import FormReader, parameters_of
from sfss.web.pieces import Pieces


class Upload(Protocol):
    """Takes a body piece by piece."""

    most: int  #: bytes that the body may have

    def feed(self, data: bytes) -> None:
        """:raises FileTooLarge, InvalidRequest:"""

    def end(self) -> bytes:
        """The file, now that all has come. :raises InvalidRequest:"""


class RawUpload:
    """The body is the file: of at most *limit* bytes."""

    __slots__ = ("_file", "most")

    def __init__(self, limit: int):
        self.most = limit
        self._file = Pieces()

    def feed(self, data: bytes) -> None:
        self._file.add(data)
        if self._file.size > self.most:
            raise FileTooLarge.over(self.most)

    def end(self) -> bytes:
        return self._file.taken()


def check_expectation(request: Request) -> None:
    """:raises UnknownExpectation: if it expects anything but to be told to go on (RFC 9110 10.1.1)."""
    for expectation in request.headers.get("expect").split(","):
        if expectation.strip().lower() not in ("", "100-continue"):
            raise UnknownExpectation("The only Expect known is 100-continue.")


def upload_of(request: Request, limit: int, *, forms: bool) -> Upload:
    """What takes the body of *request*, whose file may have *limit* bytes.

    *forms*: whether a form is taken apart; without, it is a file like others.

    :raises FileTooLarge: if the announced length is too large.
    :raises InvalidRequest: if it is a form without a boundary, or a part of a file.
    :raises UnsupportedEncoding: if the body is compressed; a file is kept as it is sent.
    """
    headers = request.headers
    if "content-encoding" in headers and any(
        coding.strip().lower() not in ("", "identity")
        for coding in headers.get("content-encoding").split(",")
    ):
        raise UnsupportedEncoding("The body has a Content-Encoding; send the file as it is to be kept.")
    if "content-range" in headers:  # RFC 9110 14.5: a part must not replace the whole
        raise InvalidRequest("Content-Range is not supported; send the whole file.")
    upload: Upload | None = None
    if forms and "content-type" in headers:
        media_type, options = parameters_of(headers.get("content-type"))
        if media_type == "multipart/form-data":
            upload = FormReader(options.get("boundary", ""), limit)
    if upload is None:
        upload = RawUpload(limit)
    if request.length is not None and request.length > upload.most:
        raise FileTooLarge.over(limit)
    return upload
