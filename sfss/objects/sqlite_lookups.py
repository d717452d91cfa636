"""What most requests ask a catalog in SQLite for: one object, one container. It is remembered while nothing changes."""

from collections.abc import Sequence

from sfss.disk.shared_database import SharedDatabase
from sfss.errors import NoSuchContainer, NotFound
from sfss.objects.models import ContainerInfo, ObjectInfo
from sfss.objects.remembered import Remembered
from sfss.objects.rows import container_of, key_of, object_of, there
from sfss.objects.sqlite_statements import CONTAINER, CONTAINER_KEY, CONTAINERS_NAMED, OBJECT

_OBJECT = f"{OBJECT} WHERE name = ? AND container = ({CONTAINER_KEY})"


class Lookups:
    """In *database*."""

    def __init__(self, database: SharedDatabase):
        self._database = database
        self._objects: Remembered[ObjectInfo] = Remembered(database.state)
        self._containers: Remembered[ContainerInfo] = Remembered(database.state)
        self._named: Remembered[Sequence[tuple[int, str, ContainerInfo]]] = Remembered(database.state)

    def object(self, account: int, container: str, name: str) -> ObjectInfo:
        """:raises NoSuchContainer: :raises NotFound:"""
        where = (account, container, name)
        info = self._objects.get(where)
        if info is None:
            row = self._database.read_row(_OBJECT, name, account, container)
            if row is None:
                self.key(account, container)
                raise NotFound(f"There is no object {name!r}.")
            info = object_of(row)
            if not info.manifest:  # (which may be long)
                self._objects.put(where, info)
        return there(info)

    def container(self, account: int, name: str) -> ContainerInfo:
        """:raises NoSuchContainer:"""
        info = self._containers.get((account, name))
        if info is None:
            row = self._database.read_row(f"{CONTAINER} WHERE account = ? AND name = ?", account, name)
            if row is None:
                raise NoSuchContainer.of(name)
            info = container_of(row)
            self._containers.put((account, name), info)
        return info

    def containers_named(self, name: str) -> Sequence[tuple[int, str, ContainerInfo]]:
        found = self._named.get(name)
        if found is None:
            rows = self._database.read_rows(CONTAINERS_NAMED, name)
            found = [(account, account_name, container_of(row)) for account, account_name, *row in rows]
            if found:
                self._named.put(name, found)
        return found

    def key(self, account: int, container: str) -> int:
        """That of a container. :raises NoSuchContainer:"""
        return key_of(self._database.read_row(CONTAINER_KEY, account, container), container)
