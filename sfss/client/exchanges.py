"""What an operation asks, and what it is answered: the values between :mod:`sfss.client.operations`, which does no I/O,
and the two clients, which do little else.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sfss.client.contents import Content
from sfss.client.values import UnexpectedAnswer
from sfss.errors import SfssError

T = TypeVar("T")

#: Bytes: no answer that is read whole has more.
MOST_BYTES = 1 << 30
#: Bytes: so many of an answer are read at once.
AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One try of an exchange."""

    method: str
    target: str  #: what follows the URL of the server; it begins with ``/``
    content: Content | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0  #: seconds to wait before it is sent
    is_streamed: bool = False  #: whether the body of a success (200) is left to be read

    def head(self) -> dict[str, str]:
        """Its headers, with the length of the content, if that is known."""
        if self.content is None or self.content.size is None:
            return dict(self.headers)
        return {**self.headers, "Content-Length": str(self.content.size)}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]  #: names in any case
    body: bytes = b""
    stream: Any = None  #: in place of *body*: the answer of the HTTP library, to read it from


class NoAnswer(SfssError):
    """There is no whole answer; the message says why, in a few words."""


#: An operation: it yields requests, is sent the answer to each (or NoAnswer is thrown into it), and returns a T.
Steps = Generator[Request, Answer, T]


def check_size(size: int) -> None:
    """:raises UnexpectedAnswer: if an answer of *size* bytes is none that is read whole."""
    if size > MOST_BYTES:
        raise UnexpectedAnswer(f"The answer has over {MOST_BYTES} bytes.")
