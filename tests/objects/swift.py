"""Requests to Swift's API, as they stand in its documentation."""

from urllib.parse import quote

from tests.http import Answer, ask, request
from tests.programs import SfssObjects


class Swift:
    """A user of *service*. *anonymous*: one without a token."""

    def __init__(self, service: SfssObjects, user: str = "main:admin", key: str = ""):
        self.port = service.port
        self.account = "AUTH_" + user.partition(":")[0]
        answer = token_for(service, user, key or service.key)
        assert answer.status == 200, answer
        self.token = answer.headers["x-auth-token"]

    def ask(
        self,
        method: str,
        path: str = "",
        body: bytes = b"",
        *,
        query: str = "",
        account: str = "",
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        """*path*: CONTAINER/OBJECT, not encoded. *headers*: with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token != "":
            named["X-Auth-Token"] = token or self.token
        target = f"/v1/{account or self.account}/{quote(path)}"
        query = quote(query, safe="=&/%")
        return ask(self.port, request(method, target + (f"?{query}" if query else ""), body, named))

    def names(self, container: str, query: str = "") -> list[str]:
        answer = self.ask("GET", container, query=query)
        assert answer.status in (200, 204), answer
        return answer.body.decode().splitlines()


def token_for(service: SfssObjects, user: str, key: str) -> Answer:
    headers = {"X-Auth-User": user, "X-Auth-Key": key}
    return ask(service.port, request("GET", "/auth/v1.0", headers=headers))
