"""django-cockatiel's storage: nodes with generated names, which tell each other of every file."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import filepath_to_uri
from django.utils.functional import cached_property

from sfss.django.failover import Failover
from sfss.django.files import RemoteFile, content_of, file_to_save
from sfss.django.http import Answer, ask, bearer
from sfss.django.names import path_under, shortened
from sfss.django.options import Option, StorageWithOptions

#: A node puts ``_``, 13 digits of time, ``_`` and 40 of a SHA-1 into a name. Fields need room for it.
ADDED = 55


class CockatielStorage(StorageWithOptions):
    """*storage_nodes*: URLs of nodes; each request goes to the first that answers. *public_url*: what URLs begin with.

    Without options, those of the setting COCKATIEL_STORAGE_OPTIONS (``PUBLIC_URL``, ``STORAGE_NODES``) are taken.
    """

    OTHER_SETTINGS = frozenset({"COCKATIEL_STORAGE_OPTIONS"})
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "storage_nodes": Option(()),
        "public_url": Option(None),
        "timeout": Option(10.0, "COCKATIEL_TIMEOUT"),
        "token": Option(None, "SFSS_WRITE_TOKEN", is_secret=True),
    }

    def __init__(self, options: Mapping[str, Any] | None = None, **given: Any):
        # django-cockatiel took them as one dictionary, in capitals.
        self._failover = Failover()
        super().__init__(**{name.lower(): value for name, value in (options or {}).items()}, **given)

    def check_options(self) -> None:
        self._nodes()

    @cached_property
    def options(self) -> dict[str, Any]:
        of_site = getattr(settings, "COCKATIEL_STORAGE_OPTIONS", {})
        return self.resolve({name.lower(): value for name, value in of_site.items()} | self._given)

    def _nodes(self) -> list[str]:
        nodes = self.options["storage_nodes"]
        found = [url.rstrip("/") for url in ([nodes] if isinstance(nodes, str) else nodes)]
        if not found:
            raise ImproperlyConfigured("storage_nodes: name one at least, as http://host:port")
        return found

    @property
    def public_url(self) -> str:
        url: str = self.options["public_url"] or self._nodes()[0]
        return url.rstrip("/")

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """The node says what the file is called."""
        name, sent = file_to_save(name, content)
        return self._put(name if max_length is None else shortened(name, max_length - ADDED), sent)

    def _save(self, name: str, content: Any) -> str:
        return self._put(name, content_of(content))

    def _put(self, name: str, content: bytes) -> str:
        answer = self._ask("PUT", path_under("", name), content)
        if answer.status not in (201, 302) or "Location" not in answer.headers:
            raise OSError(f"the node has answered {answer.status} to {name}")
        saved = unquote(urlsplit(answer.headers["Location"]).path).lstrip("/")
        return path_under("", saved)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def exists(self, name: str) -> bool:
        """No name is ever taken: each file gets its own."""
        return False

    def _open(self, name: str, mode: str = "rb") -> RemoteFile:
        if set(mode) - set("rbt"):
            raise NotImplementedError(
                "Files of these nodes never change: save a new one, and delete the old one."
            )
        return RemoteFile(name, mode, lambda: self._read(name), _never)

    def _read(self, name: str) -> bytes:
        answer = self._ask("GET", path_under("", name))
        if answer.status == 404:
            raise FileNotFoundError(f"there is no file {name}")
        if answer.status != 200:
            raise OSError(f"the node has answered {answer.status} to {name}")
        return answer.body

    def size(self, name: str) -> int:
        answer = self._ask("HEAD", path_under("", name))
        if answer.status == 404:
            raise FileNotFoundError(f"there is no file {name}")
        return int(answer.headers["Content-Length"])

    def delete(self, name: str) -> None:
        """One node is told, and tells the others."""
        if not name:
            raise ValueError("The name must be given to delete().")
        answer = self._ask("DELETE", path_under("", name))
        if answer.status not in (200, 204, 404):
            raise OSError(f"the node has answered {answer.status} to the delete of {name}")

    def url(self, name: str | None) -> str:
        return f"{self.public_url}/{filepath_to_uri(path_under('', name or ''))}"

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The first answer that is one. A node that has no file may only not have heard of it yet."""

        def ask_one(url: str) -> Answer:
            target = f"{url}/{filepath_to_uri(path)}"
            headers = bearer(self.options["token"])
            return ask(method, target, body=body, headers=headers, timeout=self.options["timeout"])

        def is_answer(answer: Answer) -> bool:
            return answer.status < 500 and not (answer.status == 404 and method != "PUT")

        answer, _, reasons = self._failover.ask(self._nodes(), ask_one, is_answer)
        if answer is None:
            raise OSError(f"no node answers: {'; '.join(reasons)}")
        if answer.status == 404 and reasons and method != "DELETE":
            raise OSError(
                f"the nodes that answer have no {path}, and others do not answer: {'; '.join(reasons)}"
            )
        return answer


def _never(content: bytes, must_be_new: bool) -> None:
    raise AssertionError("it is not open for writing")
