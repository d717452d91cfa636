"""What places that are asked over a network have in common: a prefix, and many questions at once."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from sfss.client.tasks import each
from sfss.errors import SfssError
from sfss.paths import is_valid_path
from sfss.sync.places import Complain, Item

T = TypeVar("T")


class Remote:
    """The files whose names begin with *prefix*, which their paths are without."""

    def __init__(self, prefix: str, complain: Complain):
        self._prefix = prefix
        self._complain = complain
        self.is_partly_hidden = False

    def _path_of(self, name: str) -> str | None:
        """None: no file can have it."""
        path = name[len(self._prefix) :]
        if path and not is_valid_path(path):
            self.is_partly_hidden = True
            self._complain(repr(path), "cannot be the path of a file")
            return None
        return path or None

    async def _each(self, paths: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        """What *ask* returns of those that are there."""
        return await each(paths, ask, lambda path, error: self._complain(path, str(error)))

    async def _found(
        self, paths: Iterable[str], look: Callable[[str], Awaitable[Item]]
    ) -> Mapping[str, Item | None]:
        """See :meth:`Place.find`. *look*: asks for one."""
        unknown: dict[str, Item | None] = {}

        def cannot_say(path: str, error: SfssError) -> None:
            self._complain(path, str(error))
            unknown[path] = None

        return await each(paths, look, cannot_say) | unknown
