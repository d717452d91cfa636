"""The folder in which a node keeps everything but its files: catalog, and log of changes."""

import fcntl
import os
from pathlib import Path

from sfss.errors import StoreUnusable
from sfss.stores.folder import sync_folder

#: What is held back there, so that a node can start though the disk is full. Bytes.
_RESERVE_BYTES = 1024 * 1024


class QueueFolder:
    """*path*, made if it is not there. It is this node's alone until :meth:`close`.

    :raises StoreUnusable: if it is taken, or no place for a queue: as one in *storage* is, which
        everybody may read.
    """

    def __init__(self, path: Path, storage: Path):
        self.path = Path(path).absolute()
        self._reserve = self.path / "reserve"
        if self.path.resolve().is_relative_to(Path(storage).resolve()):
            raise StoreUnusable(f"The queue {path} lies in the storage, where everybody could read it.")
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.geteuid() == 0 != self.path.stat().st_uid:
                raise StoreUnusable(
                    f"{path} belongs to another user, who could not use what root leaves there. Run it as"
                    f" that user."
                )
            self._lock = os.open(
                self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                sync_folder(self.path.parent)
                # A database cannot be opened without room for a few pages.
                self._reserve.unlink(missing_ok=True)
            except BaseException:
                self.close()
                raise
        except BlockingIOError:
            raise StoreUnusable(f"{path} is in use by another node.") from None
        except OSError as error:
            raise StoreUnusable(f"Cannot use the folder {path}: {error.strerror}.") from error

    def hold_back(self) -> None:
        """Keep some room for the next start, if there is any."""
        try:
            with open(self._reserve, "wb") as reserve:
                os.posix_fallocate(reserve.fileno(), 0, _RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._lock)
