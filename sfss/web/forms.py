"""The one file in a form (RFC 7578), out of its bytes as they come.

The rules kept here:

* Only what is used is understood: boundaries, and of each part the field's name and whether there is a file
  name. All else (other fields, their names, charsets, headers) is passed over byte by byte, whatever it is.
* A delimiter is a line break, two dashes and the boundary, behind which only blanks may stand up to the next
  line break, or two dashes (RFC 2046 5.1.1). Anything else is content.
* Nothing is kept but the file, and the beginning of what may be a delimiter or a part's head.
"""

import re

from sfss.errors import FileTooLarge, InvalidRequest
from sfss.web.pieces import Pieces

#: The field of the form that holds the file.
FIELD = "upload_file"
#: What a form may have around the file: boundaries, headers, other fields. Bytes.
FORM_OVERHEAD = 64 * 1024
FORM_PARTS = 100

# RFC 9110 5.6.6: parameters, with optional blanks and tabs around the semicolon.
_PARAMETER = re.compile(
    r';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"\s]*)', re.DOTALL
)
_PADDING = re.compile(rb"[ \t]*\r\n")
_MAYBE_PADDING = re.compile(rb"-|[ \t]*\r?")
#: A boundary is ASCII without line breaks; RFC 2046 allows 70 characters, and some clients use more.
_BOUNDARY = re.compile(r"[\x20-\x7e]{1,200}")


def parameters_of(header: str) -> tuple[str, dict[str, str]]:
    """The value before the first semicolon, in lower case, and the parameters behind it by name."""
    parameters: dict[str, str] = {}
    for name, written in _PARAMETER.findall(header):
        quoted = written.startswith('"')
        value = re.sub(r"\\(.)", r"\1", written[1:-1], flags=re.DOTALL) if quoted else written
        parameters.setdefault(name.lower(), value)
    return header.partition(";")[0].strip().lower(), parameters


class FormReader:
    """Takes a form with this *boundary*, whose file may have *limit* bytes.

    :raises InvalidRequest: if there is no such boundary.
    """

    def __init__(self, boundary: str, limit: int):
        if not _BOUNDARY.fullmatch(boundary):
            raise InvalidRequest("The form has no valid boundary in its Content-Type.")
        self.most = limit + FORM_OVERHEAD  #: bytes of the whole form
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._limit = limit
        self._buffer = b"\r\n"  # the first delimiter may stand at the very beginning
        self._step = self._read_content  # of the preamble, at first
        self._file: Pieces | None = None
        self._other = 0  # bytes around it
        self._in_file = False
        self._has_name = False  # the file
        self._parts = 0
        self._is_over = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes. :raises InvalidRequest, FileTooLarge:"""
        self._other += len(data)
        if self._is_over:  # what stands behind the last delimiter is of no interest (RFC 2046 5.1.1)
            self._check_overhead()
            return
        self._buffer += data
        while not self._is_over and self._step():
            pass
        self._check_overhead()

    def end(self) -> bytes:
        """The file, now that all has come. :raises InvalidRequest: if there is none, or it was cut off."""
        if not self._is_over:
            raise InvalidRequest("The form is cut off: its last boundary is missing.")
        if self._file is None:
            raise InvalidRequest(f"The form has no field {FIELD!r}.")
        if not self._file.size and not self._has_name:
            raise InvalidRequest(f"The form holds no file: none was chosen in the field {FIELD!r}.")
        return self._file.taken()

    def _read_content(self) -> bool:
        """Pass on content up to the next delimiter; whether there is more to do."""
        buffer = self._buffer
        found = buffer.find(self._delimiter)
        while found >= 0:
            behind = found + len(self._delimiter)
            if buffer.startswith(b"--", behind):
                self._take(buffer[:found])
                self._is_over = True
                return False
            padding = _PADDING.match(buffer, behind)
            if padding is not None:
                self._take(buffer[:found])
                self._buffer = buffer[padding.end() :]
                self._step = self._read_head
                self._in_file = False
                return True
            if _MAYBE_PADDING.fullmatch(buffer, behind):  # more has to come to tell
                self._take(buffer[:found])
                self._buffer = buffer[found:]
                self._check_overhead()
                return False
            found = buffer.find(self._delimiter, behind)
        kept = self._beginning_of_delimiter(buffer)
        self._take(buffer[: len(buffer) - kept])
        self._buffer = buffer[len(buffer) - kept :]
        return False

    def _beginning_of_delimiter(self, buffer: bytes) -> int:
        """How many bytes at the end of *buffer* may be the beginning of a delimiter."""
        start = buffer.rfind(b"\r", max(len(buffer) - len(self._delimiter) + 1, 0))
        if start >= 0 and self._delimiter.startswith(buffer[start:]):
            return len(buffer) - start
        return 0

    def _read_head(self) -> bool:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            head, start = b"", 2
        else:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head, start = buffer[:end], end + 4
        self._parts += 1
        if self._parts > FORM_PARTS:
            raise InvalidRequest(f"The form has more than {FORM_PARTS} parts.")
        self._begin_part(head)
        self._buffer = buffer[start:]
        self._step = self._read_content
        return True

    def _begin_part(self, head: bytes) -> None:
        # Latin-1 takes every byte for a character: what the client's charset is does not matter.
        unfolded = re.sub(r"\r\n[ \t]+", " ", head.decode("latin-1"))
        for line in unfolded.split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() != "content-disposition":
                continue
            _, parameters = parameters_of(value)
            if parameters.get("name") == FIELD:
                if self._file is not None:
                    raise InvalidRequest(f"The form has two files in {FIELD!r}; send one at a time.")
                self._file, self._in_file = Pieces(), True
                self._has_name = bool(parameters.get("filename") or parameters.get("filename*"))
            return

    def _take(self, content: bytes) -> None:
        if not self._in_file or not content or self._file is None:
            return
        self._other -= len(content)
        self._file.add(content)
        if self._file.size > self._limit:
            raise FileTooLarge.over(self._limit)

    def _check_overhead(self) -> None:
        # (What may be the beginning of a delimiter is counted with the rest, until it is known.)
        if self._other > FORM_OVERHEAD + len(self._delimiter):
            raise FileTooLarge(
                f"The form has more than {FORM_OVERHEAD} bytes outside of its field {FIELD!r}. Is the file"
                " in that field?"
            )
