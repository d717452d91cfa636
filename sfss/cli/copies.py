"""``sfss sync``, ``mirror``, ``get -r`` and ``rm -r``: many files, of which nobody knows how many there are."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sfss.cli.progress import Course
from sfss.client import Client, ServerUnreachable
from sfss.config.sources import SOURCE_TOKEN_VARIABLE
from sfss.errors import InvalidRequest, NoStoreAvailable, NotFound, Overloaded, SfssError
from sfss.paths import check_path
from sfss.sync.engine import Sync, Tally
from sfss.sync.folder import Folder
from sfss.sync.places import Complain, Place
from sfss.sync.server import Server

_S3 = "s3://"
_LOOK = 0.5  # seconds
#: Groups of files.
_FETCHED_AT_ONCE = 4
#: What may be otherwise the next time.
_PASSING = (ServerUnreachable, NoStoreAvailable, Overloaded)

MakeClient = Callable[..., Client]


async def sync(
    make_client: MakeClient,
    source: str,
    target: str,
    *,
    delete: bool,
    dry_run: bool,
    parallel: int,
    url: str,
    servers_only: bool = False,
) -> int:
    """Make *target* like *source*, each a folder, a URL with the folder there as its path, ``:FOLDER`` at *url*, or
    ``s3://BUCKET/FOLDER``.
    """
    if "" in (source, target):  # perhaps of a variable that is not set
        raise InvalidRequest("Name two places: . is the folder you are in, and : all of the server.")
    if servers_only and not (_is_server(source) and _is_server(target)):
        raise InvalidRequest("A mirror is of one server in another one: http://HOST:PORT/FOLDER, or :FOLDER.")
    with Course("mirror" if servers_only else "sync") as course:
        async with AsyncExitStack() as stack:

            async def place(text: str, complain: Complain, token: str | None = None) -> Place:
                if text.startswith(_S3):
                    return _bucket(text, course.complain)
                if not _is_server(text):
                    return Folder(Path(text), complain)
                base, prefix = _server_in(text, url)
                client = await stack.enter_async_context(make_client(base, token))
                return Server(client, prefix, course.complain)

            is_folder = not _is_server(source) and not source.startswith(_S3)
            if is_folder and not Path(source).is_dir():
                raise InvalidRequest(f"There is no folder {source}.")
            if _is_within(target, source, url):
                raise InvalidRequest(f"{target} is in {source}: each time there would be more to copy.")
            from_place = await place(source, course.complain, os.environ.get(SOURCE_TOKEN_VARIABLE))
            to_place = await place(target, course.complain if delete else _passed_over)
            if isinstance(to_place, Server):
                await to_place.check_names()
            if delete and isinstance(from_place, Server):
                await from_place.check_complete()
            say = (lambda word, path: print(f"{word} {path}")) if dry_run else None
            run = Sync(
                from_place, to_place, delete=delete, parallel=parallel, complain=course.complain, say=say
            )
            code = await _run(run, course, is_dry=dry_run)
            if isinstance(from_place, Server) and not code and not (run.tally.sent or run.tally.same):
                from_place.check_folder()
            return code


async def fetch(client: Client, paths: Sequence[str], output: str) -> int:
    """Download all files of the folders *paths* into the folder *output*, under their paths."""
    if output == "":
        raise InvalidRequest("Name a folder to put them into: . is the one you are in.")
    if output == "-":
        raise InvalidRequest("Many files go into a folder, and not to standard output: see GET /archive.")
    code = 0
    async with client:
        for folder in map(_folder, paths):
            with Course("get") as course:
                source = Server(client, folder, course.complain)
                target = Folder(Path(output, folder), _passed_over)
                run = Sync(source, target, delete=False, parallel=_FETCHED_AT_ONCE, complain=course.complain)
                code = max(code, await _run(run, course, is_dry=False, sent="fetched"))
                if not (run.tally.sent or run.tally.same or code):
                    raise NotFound(f"There are no files in {folder or 'it'}.")
    return code


async def remove(client: Client, paths: Sequence[str], ask: bool) -> int:
    """Delete all files of the folders *paths*. *ask*: first whether that is meant."""
    if "" in paths:  # perhaps of a variable that is not set
        raise InvalidRequest("Name a folder; / is all of them.")
    folders = [_folder(path) for path in paths]
    named = ", ".join(folder or "all folders" for folder in folders)
    if ask and not _confirmed(f"Delete all files in {named}?"):
        return 1
    deleted = 0
    stopped = ""
    with Course("rm") as course:
        async with client:
            try:
                for folder in folders:
                    place = Server(client, folder, course.complain)
                    found = False
                    async for page in place.pages():
                        found = found or bool(page)
                        failures = await place.delete([item.path for item in page])
                        for path, reason in failures.items():
                            course.complain(folder + path, reason)
                        deleted += len(page) - len(failures)
                        course.show(deleted, f"{deleted} deleted")
                    if not found:
                        course.complain(folder or "/", "there are no files in this folder")
            except SfssError as error:
                stopped = f"{str(error).rstrip('.')}. The rest was not tried"
        print(f"deleted {deleted}, failed {course.failed}; {course.seconds:.1f} s")
    return _code(course, stopped)


def _code(course: Course, stopped: str) -> int:
    """The exit code. *stopped*: why not all was tried, which is said; "" if it was."""
    if stopped:
        print(f"sfss: {stopped}.", file=sys.stderr)
    return 1 if stopped or course.failed else 0


async def _run(run: Sync, course: Course, *, is_dry: bool, sent: str = "sent") -> int:
    """The exit code. *sent*: the word for what is done with a file."""
    showing = asyncio.create_task(_show(run.tally, course))
    stopped = ""
    try:
        await run.run()
    except SfssError as error:
        again = ": begin again, and it goes on" if isinstance(error, _PASSING) else ""
        stopped = f"{str(error).rstrip('.')}. The rest was not tried{again}"
    finally:
        showing.cancel()
        tally = run.tally
        done = ("to send", "to delete") if is_dry else (sent, "deleted")
        print(
            f"{done[0]} {tally.sent}, {done[1]} {tally.deleted}, the same {tally.same}, failed {course.failed}; "
            f"{tally.bytes / 1e6:.1f} MB in {course.seconds:.1f} s"
        )
    return _code(course, stopped)


async def _show(tally: Tally, course: Course) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        words = (
            f"{tally.sent} sent, {tally.same} the same, {course.failed} failed, {tally.bytes / 1e6:.1f} MB"
        )
        course.show(tally.sent + tally.same, words)


def _passed_over(path: str, reason: str) -> None:
    """What is no file in a target is none of those that are copied. (If it is in the way of one, that one fails.)"""


def _is_within(target: str, source: str, url: str) -> bool:
    """Whether *target* is a folder below *source*."""
    if _is_server(target) and _is_server(source):
        (base, folder), (source_base, source_folder) = _server_in(target, url), _server_in(source, url)
        return base == source_base and folder != source_folder and folder.startswith(source_folder)
    if target.startswith(_S3) or source.startswith(_S3):
        return target.startswith(source.rstrip("/") + "/") and bool(target[len(source) :].strip("/"))
    if _is_server(target) or _is_server(source):
        return False
    below, above = Path(target).resolve(), Path(source).resolve()
    return below != above and below.is_relative_to(above)


def _is_server(text: str) -> bool:
    return text.startswith((":", "http://", "https://"))


def _bucket(text: str, complain: Complain) -> Place:
    """:raises InvalidRequest:"""
    try:
        from sfss.sync.s3 import Bucket  # boto3 is slow to import, and need not be there
    except ImportError:
        raise InvalidRequest("S3 needs boto3: pip install 'sfss[s3]'.") from None
    name, _, folder = text.removeprefix(_S3).partition("/")
    if not name:
        raise InvalidRequest(f"{text} has not the form s3://BUCKET/FOLDER.")
    return Bucket(name, _folder(folder), complain)


def _server_in(text: str, url: str) -> tuple[str, str]:
    """The server, and the folder there. :raises InvalidRequest:"""
    if text.startswith(":"):
        return url, _folder(text[1:])
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise InvalidRequest(f"{text} has a query: it has the form http://HOST:PORT/FOLDER.")
    try:
        folder = unquote(parts.path, errors="strict")
    except UnicodeError:
        raise InvalidRequest(f"{text} is not valid UTF-8.") from None
    return f"{parts.scheme}://{parts.netloc}", _folder(folder.lstrip("/"))


def _folder(path: str) -> str:
    """What the paths of its files begin with. :raises InvalidPath: if no file can be in it."""
    folder = path.rstrip("/")
    if not folder:
        return ""
    check_path(folder)
    return f"{folder}/"


def _confirmed(question: str) -> bool:
    """Whether somebody at the terminal says yes. :raises InvalidRequest: if there is nobody."""
    if not sys.stdin.isatty():
        raise InvalidRequest(f"{question} There is no terminal to ask at: say --yes.")
    # The loop would see Ctrl-C when there is an answer.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)
