"""Copies of the embedded store, while servers run over it; and back again.

A copy is one snapshot: what was acknowledged before it began is in it. It is made under another name, read
from beginning to end, put on disk, and only then gets its name. (SQLite's own online backup begins anew with
each write of somebody else: under load it never ends.)
"""

import contextlib
import errno
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sfss.disk.database import hold
from sfss.disk.folder import make_folders, sync_folder
from sfss.errors import StoreUnusable
from sfss.models import etag_of
from sfss.stores.sqlite import BACKED_UP, FILE_NAME, SCHEMA

log = logging.getLogger("sfss.store")

#: Called now and then with how many of how many files have been read again.
Progress = Callable[[int, int], None]
_STEP = 1000
#: What file systems without hard links (vfat, exfat, many that are mounted over a network) say.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Copy(NamedTuple):
    """What was copied."""

    files: int
    bytes: int


def back_up(folder: Path, target: Path, progress: Progress = lambda done, of: None) -> Copy:
    """Make *target* a copy of the embedded store in *folder*.

    :raises StoreUnusable: if there is no such store, *target* is there already, there is no room for it, or
        a file in the store is damaged; then there is nothing under that name.
    """
    source = Path(folder) / FILE_NAME
    if not source.is_file():
        raise StoreUnusable(f"There is no embedded store in {folder}.")
    if target.is_dir():
        raise StoreUnusable(f"{target} is a folder; name the file that is to be made in it.")
    if target.exists():
        raise StoreUnusable(f"{target} is there already; a backup replaces nothing.")
    claimed = hold(folder, alone=False)  # nobody restores meanwhile
    began = time.time()
    try:
        with _made(source, target.parent, progress) as (temporary, copy):
            try:
                _name(temporary, target)
            except FileExistsError:
                raise StoreUnusable(f"{target} is there already; a backup replaces nothing.") from None
            sync_folder(target.parent)
            _remember(Path(folder) / BACKED_UP, began)
    finally:
        os.close(claimed)
    return copy


def _remember(mark: Path, began: float) -> None:
    """That there is a backup of then, for those who look after the server."""
    try:
        mark.touch(mode=0o644)
        os.utime(mark, (began, began))
    except OSError as error:  # the disk is full, perhaps: the copy is there all the same
        log.warning("the time of the backup is not kept", extra={"file": str(mark), "reason": error.strerror})


def _name(temporary: Path, target: Path) -> None:
    """Give it its name. :raises FileExistsError: a rename would replace what somebody has put there meanwhile."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(temporary, target)


def restore(
    source: Path, folder: Path, *, replace: bool = False, progress: Progress = lambda done, of: None
) -> tuple[Copy, Path | None]:
    """Make the copy *source* the embedded store in *folder*, over which no server may run.

    *replace*: what is there already is put aside; where to, is returned, too.

    :raises StoreUnusable: and the store in *folder* is as it was.
    """
    if not source.is_file():
        raise StoreUnusable(f"There is no file {source}.")
    file, aside = folder / FILE_NAME, None
    try:
        make_folders(folder, mode=0o700)
    except OSError as error:
        raise StoreUnusable(f"Cannot make the folder {folder}: {error.strerror}.") from error
    claimed = hold(folder, alone=True)
    try:
        if file.exists() and not replace:
            raise StoreUnusable(f"{folder} has a store already; --replace puts it aside.")
        with _made(source, folder, progress) as (temporary, copy):
            with contextlib.closing(sqlite3.connect(temporary)) as database:
                database.execute("PRAGMA journal_mode = WAL")
            if os.geteuid() == 0:  # the server that will use it may be another user's
                owner = os.stat(folder)
                os.chown(temporary, owner.st_uid, owner.st_gid)
            if file.exists():
                aside = folder / f"{FILE_NAME}.replaced-{time.strftime('%Y%m%dT%H%M%S')}"
                _put_aside(file, aside)
            os.replace(temporary, file)
            sync_folder(folder)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnusable(f"Cannot restore into {folder}: {error}.") from error
    finally:
        os.close(claimed)
    return copy, aside


def _put_aside(file: Path, aside: Path) -> None:
    """Give *file* the name *aside*, too, whole, so that a crash leaves one of the two stores under its own."""
    busy = 0
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=1.0)) as database:
            # What the log holds goes into the database, or it would be taken for the new one's.
            ((busy, _, _),) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.DatabaseError as error:
        # It is damaged: as it is, with its log, it may be of use to somebody.
        busy = error.sqlite_errorcode & 0xFF in _IN_USE
    if busy:
        raise StoreUnusable(f"Somebody still reads {file}: end that first.")
    try:
        os.link(file, aside)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(file, aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{file}{suffix}", f"{aside}{suffix}")


@contextlib.contextmanager
def _made(source: Path, folder: Path, progress: Progress) -> Iterator[tuple[Path, Copy]]:
    """A verified copy of *source* in *folder*, on disk, under a name that nobody knows; it is gone then."""
    temporary = folder / f".{FILE_NAME}-{secrets.token_hex(8)}"
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(_reading(source)) as database:
            if not SCHEMA.is_in(database):
                raise StoreUnusable(f"{source} is no embedded store of this release of sfss.")
            database.execute("VACUUM INTO ?", (str(temporary),))
        copy = _verified(temporary, progress)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        yield temporary, copy
    except (sqlite3.Error, OSError) as error:
        raise StoreUnusable(f"Cannot copy {source} into {folder}: {error}.") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                Path(f"{temporary}{suffix}").unlink(missing_ok=True)


def _reading(file: Path) -> sqlite3.Connection:
    # Not mode=ro: a log that a kill has left could not be read.
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=60.0
    )


def _verified(file: Path, progress: Progress) -> Copy:
    """What is in the copy. :raises StoreUnusable: if it is not what its files and totals say."""
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StoreUnusable(f"The copy is damaged: {verdict}.")
        total, size = database.execute("SELECT files, bytes FROM totals").fetchone()
        files = read = 0
        for path, etag, content in database.execute("SELECT path, etag, content FROM files"):
            if type(content) is not bytes or etag_of(content) != etag:
                raise StoreUnusable(f"The content of {path!r} is damaged in the store.")
            files, read = files + 1, read + len(content)
            if files % _STEP == 0:
                progress(files, total)
        if (files, read) != (total, size):
            raise StoreUnusable(f"The copy has {files} files, and should have {total}.")
    return Copy(files, read)
