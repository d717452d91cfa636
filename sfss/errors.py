"""Every way in which sfss can say no, by what went wrong and not by HTTP status.

A store answers with one of four outcomes that are never confused: *here it is*, *there is
none* (:class:`NotFound`), *nobody can say* (:class:`NoStoreAvailable`), *the store refused*
(:class:`StoreRefused`, :class:`FileTooLarge`, :class:`StoreFull`).

The message of an error is one sentence for the person who made the request.
"""

from collections.abc import Iterable


class SfssError(Exception):
    """The root of all errors that sfss raises on purpose."""


# The request is at fault.


class InvalidRequest(SfssError):
    """An argument is missing, repeated or malformed."""


class NameTooLong(InvalidRequest):
    """The name of an object has too many bytes."""


class InvalidPath(InvalidRequest):
    """The path cannot name a file."""


class NotAGateway(InvalidRequest):
    """A node was spoken to as if it were a gateway."""


class UnsupportedEncoding(SfssError):
    """The body has a Content-Encoding; files are kept exactly as they are sent."""


class UnknownExpectation(SfssError):
    """The request expects of the server what it does not know (RFC 9110 10.1.1)."""


class LengthRequired(SfssError):
    """The body of the request has no announced length, and needs one."""


class HeadTooLarge(SfssError):
    """The request line and the headers are longer than any sensible ones."""


class VersionNotSupported(SfssError):
    """The request is of a version of HTTP that is not spoken here."""


class UploadTimeout(SfssError):
    """The body did not arrive in time."""


class Unauthorized(SfssError):
    """A credential is needed, and there was none, or none that is valid."""

    challenge = 'Bearer realm="sfss"'  #: the ``WWW-Authenticate`` with which one can try (RFC 6750 3)


class SwiftUnauthorized(Unauthorized):
    """The same of an object service, for clients of Swift."""

    challenge = 'Swift realm="sfss"'


class PeerUnknown(Unauthorized):
    """Somebody speaks as a node and has not proved that he is one.

    *challenge*: the ``WWW-Authenticate`` with which he can try.
    """

    def __init__(self, reason: str, challenge: str = ""):
        super().__init__(reason)
        if challenge:
            self.challenge = challenge


class Forbidden(SfssError):
    """It is not allowed to this client, whatever its token: by its address, or by its URL."""


class Overloaded(SfssError):
    """So much is under way that there is no room for this request; a moment later there may be."""

    @classmethod
    def now(cls) -> "Overloaded":
        return cls("The server has too much under way at the moment. Try again in a second.")


class FileTooLarge(SfssError):
    """The content is over the service's limit, or over the store's own."""

    @classmethod
    def over(cls, limit: int) -> "FileTooLarge":
        return cls(f"A file may have at most {limit} bytes.")

    @classmethod
    def object_over(cls, limit: int) -> "FileTooLarge":
        return cls(f"An object may have at most {limit} bytes.")


class AlreadyDeleted(SfssError):
    """The name was used for a file that is deleted, and is not used again."""

    @classmethod
    def of(cls, path: str) -> "AlreadyDeleted":
        return cls(f"The file {path!r} is deleted already; its name is not used again.")


class NameTaken(SfssError):
    """The name belongs to another content, and a file of this kind never changes."""

    @classmethod
    def of(cls, path: str) -> "NameTaken":
        return cls(f"The name {path!r} belongs to a file with another content. Send it again.")


class PreconditionFailed(SfssError):
    """``If-Match`` or ``If-None-Match`` does not hold for the file as it is."""


class RangeNotSatisfiable(SfssError):
    """The range that was asked for begins behind the end of the file.

    ``size`` is the file's size in bytes, for ``Content-Range: bytes */size``.
    """

    def __init__(self, size: int):
        super().__init__(f"The range begins behind the end of the file, which has {size} bytes.")
        self.size = size


class NoSuchUser(SfssError):
    """There is no such user of objects."""


class AlreadyThere(SfssError):
    """What is to be made is there already."""


class ContainerNotEmpty(SfssError):
    """A container that has objects is not deleted."""


class ContentMismatch(SfssError):
    """The body is not the one that the request's checksum says."""


class SegmentChanged(SfssError):
    """An object that is made of others cannot be read: one of them is another one now."""


class MethodNotAllowed(SfssError):
    """There is something there, and this is not done with it."""

    def __init__(self, method: str, allowed: Iterable[str]):
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"{method} is not allowed here, but {self.allowed}.")


class NotSupported(SfssError):
    """What is asked for is a part of the API that this server does not have."""


class CannotList(SfssError):
    """This server does not say which files there are."""


# The store's answer.


class NotFound(SfssError):
    """There is no file of that path: the store was asked and knows."""

    @classmethod
    def of(cls, path: str) -> "NotFound":
        return cls(f"There is no file {path!r}.")


class NoSuchContainer(NotFound):
    """There is no container of that name in the account."""

    @classmethod
    def of(cls, path: str) -> "NoSuchContainer":
        return cls(f"There is no container {path!r}.")


class NoSuchVersion(NotFound):
    @classmethod
    def of(cls, name: str) -> "NoSuchVersion":
        return cls(f"There is no such version of {name!r}.")


class IsDeleteMarker(NotFound):
    """The version says that the object was deleted."""

    @classmethod
    def of(cls, name: str) -> "IsDeleteMarker":
        return cls(f"This version of {name!r} is a delete marker.")


class WasDeleted(NotFound):
    """There is no such object: its newest version, *version*, says that it was deleted."""

    def __init__(self, name: str, version: str):
        super().__init__(f"The object {name!r} was deleted.")
        self.version = version


class NoSuchUpload(NotFound):
    """There is no such upload in parts, or not any more."""

    @classmethod
    def of(cls, path: str) -> "NoSuchUpload":
        return cls(f"There is no upload {path!r}: it was completed, aborted, or never begun.")


class NoStoreAvailable(SfssError):
    """Nobody can say: no store was reached in time.

    After a write the file may have changed all the same.
    """


class StoreRefused(SfssError):
    """Stores were reached, and every one of them refused.

    After a write the file may have changed all the same (docs/stores.rst: a Beansdb cluster that
    misses its write quorum has already written to the nodes that live).
    """


class StoreFull(StoreRefused):
    """The store has no room left."""


# The operator's side.


class SettingsError(SfssError):
    """A setting is unknown or invalid. The message names the source and the setting."""


class StoreUnusable(SfssError):
    """The embedded store cannot be opened: wrong folder, wrong file, wrong rights."""
