"""``sfss ls``, ``stat`` and ``du``: what is there."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from sfss.cli.progress import printable
from sfss.client import Client, Listed
from sfss.errors import NotFound, SfssError


async def ls(client: Client, path: str, long: bool, recursive: bool, as_json: bool) -> int:
    """Print what is in the folder *path*, or the file of that path."""
    path = "" if _is_all(path) else path
    async with client:
        is_empty = True
        seen: set[str] = set()  # where there is no order, a folder may come several times
        async for page in client.list_pages(_as_folder(path), delimiter="" if recursive else "/"):
            is_empty = is_empty and not page.files and not page.folders
            for name in page.folders:
                if page.is_ordered or name not in seen:
                    _print_folder(name, long, as_json)
                if not page.is_ordered:
                    seen.add(name)
            for file in page.files:
                _print_file(file, long, as_json)
        if path and is_empty:
            name = path.rstrip("/")
            try:
                info = await client.stat(name)
            except NotFound:
                raise NotFound(f"There is no file and no folder {name!r}.") from None
            _print_file(Listed(name, info.size, info.etag), long, as_json)
    return 0


def _is_all(path: str) -> bool:
    return not path.strip("/")


def _as_folder(path: str) -> str:
    return "" if _is_all(path) else path if path.endswith("/") else f"{path}/"


def _print_folder(name: str, long: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"folder": name}, ensure_ascii=False))
    else:
        print(f"{'':>12}  {'':24}  {_shown(name)}" if long else _shown(name))


def _print_file(file: Listed, long: bool, as_json: bool) -> None:
    if as_json:
        known = {name: value for name, value in file._asdict().items() if value is not None}
        print(json.dumps(known, ensure_ascii=False))
    elif long:
        size = "?" if file.size is None else str(file.size)
        print(f"{size:>12}  {file.modified or '-':24}  {_shown(file.path)}")
    else:
        print(_shown(file.path))


def _shown(name: str) -> str:
    """A pipe gets it as it is; a terminal does not get what it would take for a command."""
    return printable(name) if sys.stdout.isatty() else name


async def stat(client: Client, paths: Sequence[str], as_json: bool) -> int:
    """Print what the server says of each file."""
    failed = 0
    async with client:
        for path in paths:
            try:
                headers = await client.head(path)
            except SfssError as error:
                failed += 1
                print(f"sfss: {path}: {error}", file=sys.stderr)
                continue
            found: dict[str, Any] = {
                "path": path,
                "size": int(headers["Content-Length"]),
                "etag": headers["ETag"].strip('"'),
                "type": headers.get("Content-Type"),
                "modified": headers.get("Last-Modified"),
                "url": client.url_of(path),
            }
            known = {name: value for name, value in found.items() if value is not None}
            if as_json:
                print(json.dumps(known, ensure_ascii=False))
            else:
                print("\n".join(f"{name:>9}: {value}" for name, value in known.items()))
    return 1 if failed else 0


async def du(client: Client, path: str, as_json: bool) -> int:
    """Print how many files, and bytes, are in each folder of the folder *path*, and in all of it."""
    folder = _as_folder(path)
    counts: dict[str, list[int]] = {}
    total = [0, 0]
    has_unknown = False
    async with client:
        async for page in client.list_pages(folder):
            for file in page.files:
                name, slash, _ = file.path[len(folder) :].partition("/")
                has_unknown |= file.size is None
                for each in (total, counts.setdefault(name + slash, [0, 0])) if slash else (total,):
                    each[0] += 1
                    each[1] += file.size or 0
    if not total[0]:
        raise NotFound(f"There are no files in {folder or 'it'}.")
    named = [(folder + name, count) for name, count in sorted(counts.items())]
    for what, (files, size) in [*named, (folder or ".", total)]:
        if as_json:
            found = {"path": what, "files": files, "bytes": None if has_unknown else size}
            print(json.dumps(found, ensure_ascii=False))
        else:
            print(f"{'?' if has_unknown else size:>15}  {files:>10}  {what}")
    return 0
