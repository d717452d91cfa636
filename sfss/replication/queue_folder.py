"""The folder in which a node keeps everything but its files: catalog, and log of changes."""

import fcntl
import os
from pathlib import Path

from sfss.disk.folder import check_same, make_folders
from sfss.disk.reserve import Reserve
from sfss.errors import StoreUnusable


class QueueFolder:
    """*path*, made if it is not there. It is this node's alone until :meth:`close`.

    :raises StoreUnusable: if it is taken, or no place for a queue: as one in *storage* is, which
        everybody may read.
    """

    def __init__(self, path: Path, storage: Path):
        self.path = Path(path).absolute()
        #: :meth:`Reserve.hold_back` is called once everything in here is open.
        self.reserve = Reserve(self.path)
        if self.path.resolve().is_relative_to(Path(storage).resolve()):
            raise StoreUnusable(f"The queue {path} lies in the storage, where everybody could read it.")
        try:
            make_folders(self.path, mode=0o700)
            self._status = os.stat(self.path)
            if os.geteuid() == 0 != self._status.st_uid:
                raise StoreUnusable(
                    f"{path} belongs to another user, who could not use what root leaves there. Run it as"
                    f" that user."
                )
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.reserve.release()
            except BaseException:
                self.close()
                raise
        except BlockingIOError:
            raise StoreUnusable(f"{path} is in use by another node.") from None
        except OSError as error:
            raise StoreUnusable(f"Cannot use the folder {path}: {error.strerror}.") from error

    def check(self) -> None:
        """Return if it is still at its place. :raises OSError: ESTALE, if it was removed or replaced."""
        check_same(self.path, self._status)

    def close(self) -> None:
        os.close(self._lock)
