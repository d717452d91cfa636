"""The commands that work with a running server: put, get, rm, status, sign.

Each is a coroutine that returns the exit code, and is given a client that is not open yet. Many files travel
at once; those that fail are listed at the end, and the others travel all the same.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tqdm import tqdm

from sfss.cli.progress import printable
from sfss.client import Client, ServerUnreachable
from sfss.config.credentials import secrets_in
from sfss.config.sources import KEY_VARIABLE, parse
from sfss.errors import InvalidRequest, SfssError
from sfss.paths import check_path

Job = TypeVar("Job")


async def put(client: Client, files: Sequence[str], to: str, recursive: bool, parallel: int) -> int:
    """Upload *files*, each under its name, those of a folder under the folder's name."""
    if "" in files:  # perhaps of a variable that is not set
        raise InvalidRequest("Name a file or a folder: . is the one you are in.")
    jobs: list[tuple[Path, str]] = []
    failed: list[str] = []
    for name in files:
        file = Path(name)
        if not file.is_dir():
            jobs.append((file, _joined(to, file.name)))
        elif recursive:
            inside = _files_in(file, failed)
            jobs += [(f, _joined(to, file.resolve().name, *f.relative_to(file).parts)) for f in inside]
        else:
            failed.append(f"{name}: is a folder; -r uploads it")
    if collisions := _collisions(jobs):
        return _report(failed + collisions)  # nothing is uploaded: which of them was meant?

    async with client:

        async def upload(job: tuple[Path, str]) -> None:
            file, path = job
            if file.exists() and not file.is_file():
                raise OSError("is not a regular file")
            kept = await client.put(path, await asyncio.to_thread(file.read_bytes))
            if kept.path != path:  # a node has given it a name
                print(f"{file} {kept.path}")

        failed += await _each(jobs, upload, parallel, "put", label=lambda job: str(job[0]))
    return _report(failed)


async def get(client: Client, paths: Sequence[str], output: str, parallel: int) -> int:
    """Download *paths* into the folder *output*, or, in their order, to standard output."""
    async with client:
        if output == "-":
            # One after the other: they come out in the order in which they were named.
            async def show(path: str) -> None:
                sys.stdout.buffer.write(await client.get(path))
                sys.stdout.buffer.flush()

            return _report(await _each(paths, show, 1, "get"))

        async def download(path: str) -> None:
            # check_path: no path leads out of the folder.
            file = Path(output, *PurePosixPath(check_path(path)).parts)
            content = await client.get(path)
            await asyncio.to_thread(_write_whole, file, content)

        return _report(await _each(paths, download, parallel, "get"))


async def rm(client: Client, paths: Sequence[str], parallel: int) -> int:
    """Delete *paths*."""
    async with client:
        return _report(await _each(paths, client.delete, parallel, "rm"))


async def status(client: Client, full: bool) -> int:
    """Print the figures of the server as JSON."""
    async with client:
        print(json.dumps(await client.status(full=full), indent=2))
    return 0


async def sign(
    client: Client, path: str, method: str, lifetime: float, limit: int | None, key_file: str | None
) -> int:
    """Print a signed URL for *path*."""
    if key_file is not None:
        keys = await asyncio.to_thread(secrets_in, "--key-file", key_file)
    else:
        keys = parse("signing_key", os.environ.get(KEY_VARIABLE, ""))
    if not keys:
        raise InvalidRequest(f"There is no key: give --key-file, or set {KEY_VARIABLE}.")
    print(client.signed_url(method, path, keys[0], lifetime=lifetime, limit=limit))
    return 0


async def _each(
    jobs: Iterable[Job],
    action: Callable[[Job], Awaitable[object]],
    parallel: int,
    verb: str,
    label: Callable[[Job], str] = str,
) -> list[str]:
    """Do *action* with each job, *parallel* at a time; what failed, a line each.

    A server that cannot be reached ends it all: the rest would wait for the same.
    """
    waiting = list(reversed(list(jobs)))
    failed: list[str] = []
    unreachable = ""
    not_tried = 0
    # The bar shows itself on a terminal only, and not for a handful of files.
    bar = tqdm(total=len(waiting), desc=verb, unit="file", disable=None if len(waiting) > 4 else True)

    async def work() -> None:
        nonlocal unreachable, not_tried
        while waiting:
            job = waiting.pop()
            try:
                await action(job)
            except ServerUnreachable as error:  # once, whoever else was under way
                not_tried += len(waiting) + bool(unreachable)
                unreachable = unreachable or f"{label(job)}: {error}"
                waiting.clear()
            except SfssError as error:
                failed.append(f"{label(job)}: {error}")
            except OSError as error:
                failed.append(f"{label(job)}: {error.strerror or error}")
            bar.update()

    with bar:
        await asyncio.gather(*(work() for _ in range(min(parallel, len(waiting)))))
    if unreachable:
        failed.append(unreachable)
    if not_tried:
        failed.append(f"{not_tried} more were not tried")
    return failed


def _files_in(folder: Path, failed: list[str]) -> list[Path]:
    """All files in *folder*, in order. What cannot be read, or is neither, goes into *failed*."""

    def cannot(error: OSError) -> None:
        failed.append(f"{error.filename}: {error.strerror}")

    found: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=cannot):
        for name in (*folders, *names):
            entry = Path(where, name)
            if entry.is_file():
                found.append(entry)
            elif entry.is_symlink():
                failed.append(f"{entry}: is a link to a folder or to nothing, and was passed over")
            elif not entry.is_dir():
                failed.append(f"{entry}: is not a regular file")
    return sorted(found)


def _collisions(jobs: list[tuple[Path, str]]) -> list[str]:
    """A line for each path that more than one file would have."""
    by_path: dict[str, list[str]] = {}
    for file, path in jobs:
        by_path.setdefault(path, []).append(str(file))
    return [
        f"{' and '.join(files)}: would both be {path}; nothing was uploaded"
        for path, files in by_path.items()
        if len(files) > 1
    ]


def _joined(prefix: str, *parts: str) -> str:
    return "/".join([*(part for part in prefix.split("/") if part), *parts])


def _write_whole(file: Path, content: bytes) -> None:
    """Write *file* so that it is whole or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".sfss-{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _report(failed: list[str]) -> int:
    for line in failed:
        print(f"sfss: {printable(line)}", file=sys.stderr)
    if failed:
        print(f"sfss: {len(failed)} failed", file=sys.stderr)
    return 1 if failed else 0
