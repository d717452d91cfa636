"""Where clients reach this service, for what tells them URLs of it."""

from sfss.http.messages import Request


class OwnUrl:
    """*url*: of the settings; "" for where they ask, over TLS or not."""

    def __init__(self, url: str, is_tls: bool):
        self._url = url.rstrip("/")
        self._scheme = self._url.partition("://")[0] or ("https" if is_tls else "http")

    def base(self, request: Request) -> str:
        """Without a slash at its end."""
        return self._url or self.asked(request)

    def asked(self, request: Request) -> str:
        """The same at the host that *request* names, which may be one of several."""
        return f"{self._scheme}://{request.headers.get('host')}"
