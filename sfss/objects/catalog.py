"""The interface of a catalog: accounts, containers, objects, and what their contents are called.

* What a call has changed is on disk when it returns. It happens as a whole or not at all.
* An object is visible as a whole or not at all: its content is written first, and named here then. What nothing names
  any more is garbage, listed in the same step.
* Names are any text without a null character; listings are in the order of code points.
* A listing costs what it returns; counts and bytes of containers are right at every moment.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from sfss.errors import NoStoreAvailable
from sfss.objects.models import (
    AccountInfo,
    ContainerInfo,
    Garbage,
    Metadata,
    ObjectInfo,
    Query,
    Upload,
    UploadedPart,
    User,
)
from sfss.objects.versions import Deleted, Version
from sfss.stores.listing import Page

#: What is to become of metadata: None takes a header away.
Changes = Mapping[str, str | None]


def given_up() -> NoStoreAvailable:
    """What whoever names a content is told that was given up meanwhile: its pieces may be gone."""
    return NoStoreAvailable("It took so long that what had come was given up. Nothing was changed.")


class Catalog(ABC):
    """Errors of all calls: :class:`NoStoreAvailable`, :class:`StoreRefused`, :class:`StoreFull`."""

    description: str
    #: Whether a read of one thing waits for nothing.
    reads_at_once = False
    #: Tells it from other catalogs over the same store, 16 hex digits; there once it is started.
    id: str

    def prepare(self) -> None:
        """What is to be done once, before processes share it. :raises StoreUnusable:"""

    @abstractmethod
    async def check_idle(self) -> None:
        """Return if nobody has it open. Before it is started. :raises StoreUnusable:"""

    @abstractmethod
    async def start(self) -> None:
        """:raises StoreUnusable:"""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def ready(self) -> None:
        """Return if it can be asked now."""

    @abstractmethod
    async def take_turn(self, what: str, interval: float) -> bool:
        """Whether to do now what is done by one of all who share the catalog, once in so many seconds."""

    # Who may come in.

    @abstractmethod
    async def secret(self) -> bytes:
        """What tokens are signed with, the same for all who use the catalog."""

    @abstractmethod
    async def user(self, account: str, name: str) -> User | None: ...

    @abstractmethod
    async def user_with(self, access_key: str) -> User | None: ...

    @abstractmethod
    async def users(self) -> Sequence[User]: ...

    @abstractmethod
    async def add_user(self, account: str, name: str, key: str, *, read_only: bool) -> User:
        """The account is made, if it is not there. :raises AlreadyThere: if there is such a user."""

    @abstractmethod
    async def change_user(
        self,
        account: str,
        name: str,
        *,
        key: str | None = None,
        read_only: bool | None = None,
        disabled: bool | None = None,
    ) -> None:
        """:raises NoSuchUser:"""

    # Accounts. *account*: the key that :class:`User` has.

    @abstractmethod
    async def account_named(self, name: str) -> int | None:
        """Its key."""

    @abstractmethod
    async def account(self, account: int) -> AccountInfo: ...

    @abstractmethod
    async def change_account(self, account: int, changes: Changes) -> None: ...

    # Containers.

    @abstractmethod
    async def containers(self, account: int, query: Query) -> Page[ContainerInfo]: ...

    @abstractmethod
    async def container(self, account: int, name: str) -> ContainerInfo:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def containers_named(self, name: str) -> Sequence[tuple[int, str, ContainerInfo]]:
        """Of all accounts: their keys, and their names. The oldest first."""

    @abstractmethod
    async def make_container(self, account: int, name: str, changes: Changes) -> bool:
        """Whether it is new."""

    @abstractmethod
    async def change_container(self, account: int, name: str, changes: Changes) -> None:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def delete_container(self, account: int, name: str) -> None:
        """:raises NoSuchContainer: :raises ContainerNotEmpty:"""

    # Objects.

    @abstractmethod
    async def objects(self, account: int, container: str, query: Query) -> Page[ObjectInfo]:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def object(self, account: int, container: str, name: str) -> ObjectInfo:
        """:raises NoSuchContainer: :raises NotFound:"""

    @abstractmethod
    async def put_object(
        self,
        account: int,
        container: str,
        info: ObjectInfo,
        *,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> str:
        """In place of what has its name. Twice is as once. *must_have*: that has to be there, with this ETag.
        Returns the version that it has.

        :raises NoSuchContainer: :raises NotFound: :raises PreconditionFailed:
        :raises NoStoreAvailable: if its content was given up meanwhile.
        """

    @abstractmethod
    async def change_object(
        self,
        account: int,
        container: str,
        name: str,
        metadata: Metadata,
        content_type: str | None,
        expires: int = 0,
    ) -> None:
        """Other *metadata* for it. :raises NoSuchContainer: :raises NotFound:"""

    @abstractmethod
    async def set_properties(
        self, account: int, container: str, name: str, changes: Changes, *, version: str | None = None
    ) -> None:
        """*version*: of the object; None: the one that is there now.

        :raises NoSuchContainer: :raises NotFound: :raises NoSuchVersion: :raises IsDeleteMarker:
        """

    @abstractmethod
    async def expire(self, before: int, limit: int) -> int:
        """Delete what has expired before that second, at most so many. How many they were."""

    @abstractmethod
    async def delete_object(
        self,
        account: int,
        container: str,
        name: str,
        *,
        must_have: str | None = None,
        before: int | None = None,
    ) -> Deleted:
        """*must_have*: that has to be there, with this ETag. *before*: if it was put before that time.

        :raises NoSuchContainer: :raises NotFound: :raises PreconditionFailed:
        """

    # Versions. ("": the null version.)

    @abstractmethod
    async def set_versioning(self, account: int, container: str, versioning: int) -> None:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def object_version(self, account: int, container: str, name: str, version: str) -> ObjectInfo:
        """:raises NoSuchContainer: :raises NotFound: :raises NoSuchVersion: :raises IsDeleteMarker:"""

    @abstractmethod
    async def versions(self, account: int, container: str, query: Query) -> Page[Version]:
        """All, with the objects that are there. The marker of *query*: a place. :raises NoSuchContainer:"""

    @abstractmethod
    async def delete_version(self, account: int, container: str, name: str, version: str) -> Deleted:
        """For good. :raises NoSuchContainer: :raises NoSuchVersion:"""

    @abstractmethod
    async def expire_versions(
        self, account: int, container: str, prefix: str, before: int, limit: int
    ) -> int:
        """Delete at most so many that have been replaced or deleted before that time. How many they were."""

    # Uploads in parts.

    @abstractmethod
    async def begin_upload(self, account: int, container: str, upload: Upload) -> None:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def upload(self, account: int, container: str, name: str, id: str) -> Upload:
        """:raises NoSuchContainer: :raises NoSuchUpload:"""

    @abstractmethod
    async def uploads(self, account: int, container: str, query: Query) -> Page[Upload]:
        """:raises NoSuchContainer:"""

    @abstractmethod
    async def put_part(self, upload: str, part: UploadedPart) -> None:
        """In place of one of the same number. :raises NoSuchUpload:"""

    @abstractmethod
    async def parts(self, upload: str) -> Sequence[UploadedPart]:
        """In their order. *upload*: its id, which is the content of the object that has become of it, too."""

    @abstractmethod
    async def complete_upload(
        self,
        account: int,
        container: str,
        info: ObjectInfo,
        parts: Sequence[UploadedPart],
        *,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> str:
        """The object *info* is made of these parts, and the others are garbage. :raises NoSuchUpload:"""

    @abstractmethod
    async def abort_upload(self, upload: str) -> None:
        """Its parts are garbage. :raises NoSuchUpload:"""

    # Contents.

    @abstractmethod
    async def begin_content(self, content: str) -> None:
        """Its pieces are being written. Called now and then until an object has it."""

    @abstractmethod
    async def give_up(self, content: str, pieces: int | None) -> None:
        """No object will have it: it is garbage now."""

    @abstractmethod
    async def abandoned(self, before: int) -> Sequence[str]:
        """Contents that were last said to be written before that time."""

    @abstractmethod
    async def garbage(self, before: int, limit: int) -> Sequence[Garbage]:
        """What became garbage before that time, the oldest first."""

    @abstractmethod
    async def removed(self, contents: Iterable[str]) -> None:
        """This garbage is removed. (It stays known: see :meth:`forget_removed`.)"""

    @abstractmethod
    async def put_off(self, content: str) -> None:
        """This garbage cannot be removed now."""

    @abstractmethod
    async def forget_removed(self, before: int) -> None:
        """What was removed before that time need not be known any more: nobody still writes it."""

    @abstractmethod
    async def known(self, contents: Iterable[str]) -> set[str]:
        """Which of these an object has, or are being written, or are garbage."""
