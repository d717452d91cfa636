"""A file of users, for services whose users are configured: one line each, ``ACCOUNT:USER KEY [read-only]``."""

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sfss.errors import AlreadyThere, SettingsError
from sfss.objects.catalog import Catalog

log = logging.getLogger("sfss.objects")

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_READ_ONLY = "read-only"

#: An account and a user.
Name = tuple[str, str]


class Entry(NamedTuple):
    key: str
    read_only: bool


def user_name(text: str) -> Name:
    """The account and the user of ``ACCOUNT:USER``. :raises SettingsError:"""
    account, colon, name = text.partition(":")
    if not colon or not _NAME.fullmatch(account) or not _NAME.fullmatch(name):
        raise SettingsError(f"{text!r} is not ACCOUNT:USER, of letters, digits and . _ @ - each")
    return account, name


def read(file: Path) -> dict[Name, Entry]:
    """:raises SettingsError: if it cannot be read, or says something else."""
    try:
        with open(file, encoding="utf-8") as lines:
            if stat.S_IMODE(os.fstat(lines.fileno()).st_mode) & stat.S_IROTH:
                log.warning("everybody on this machine can read the keys", extra={"file": str(file)})
            text = lines.read()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"--accounts: {file} cannot be read: {error}") from None
    found: dict[Name, Entry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"--accounts: {file}, line {number}"
        try:
            name = user_name(words[0])
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
        if not 2 <= len(words) <= 3 or words[2:] not in ([], [_READ_ONLY]):
            raise SettingsError(f"{where} has not the form ACCOUNT:USER KEY [{_READ_ONLY}]")
        if name in found:
            raise SettingsError(f"{where}: {words[0]} is there already")
        found[name] = Entry(words[1], len(words) == 3)
    return found


async def admit(catalog: Catalog, entries: Mapping[Name, Entry]) -> None:
    """See to it that these users have the keys and the rights that are said. Who is disabled stays so, and who is not
    named stays as he is.
    """
    for (account, name), (key, read_only) in entries.items():
        user = await catalog.user(account, name)
        if user is None:
            try:
                await catalog.add_user(account, name, key, read_only=read_only)
                continue
            except AlreadyThere:  # another service over the same catalog was quicker
                user = await catalog.user(account, name)
        if user is not None and (user.key, user.read_only) != (key, read_only):
            await catalog.change_user(account, name, key=key, read_only=read_only)
