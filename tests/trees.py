"""Trees of files: in folders, and on servers of the kinds that list theirs in order."""

from pathlib import Path
from urllib.parse import quote

from tests.http import ask, request
from tests.programs import Sfss, SfssNode

KINDS = ["embedded", "directory", "node"]


def start(kind: str, home: Path, *flags: object) -> Sfss:
    if kind == "node":
        return SfssNode(home, "--names", "exact", *flags)
    if kind == "directory":
        return Sfss("--store", f"directory:{home}", *flags)
    return Sfss("--data", home, *flags)


def target(server: Sfss, path: str) -> str:
    """Of the URL of a file."""
    return ("/" if isinstance(server, SfssNode) else "/file/") + quote(path)


def put_all(server: Sfss, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        assert ask(server.port, request("PUT", target(server, path), content)).status in (200, 201)


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
