"""What answers the requests that the engine frames."""

from mypy_extensions import mypyc_attr

from sfss.http.exchange import Exchange
from sfss.http.messages import Response


@mypyc_attr(allow_interpreted_subclasses=True)
class Handler:
    """To be implemented by the web floor."""

    def begin(self, exchange: Exchange) -> None:
        """The head of a request is here. It is answered now or later, by :meth:`Exchange.respond`."""
        raise NotImplementedError

    def refusal(self, error: Exception, request_id: str) -> Response:
        """What a client gets to see of *error*. An error that is no :class:`SfssError` is a fault of ours."""
        raise NotImplementedError

    def answered(self, exchange: Exchange, status: int, bytes_in: int, bytes_out: int) -> None:
        """An answer is given. Bytes are of the body that came, and of the whole answer."""
        raise NotImplementedError

    def refused(self, status: int, bytes_out: int, seconds: float) -> None:
        """The same of what was no request."""
        raise NotImplementedError

    def new_id(self) -> str:
        """For a request that has none."""
        raise NotImplementedError
