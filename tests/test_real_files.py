"""The main job on real input: thousands of real files up with curl, and back, byte for byte."""

import subprocess
import sysconfig
from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path
from urllib.parse import quote

from tests.programs import Sfss

COUNT = 2000
LIMIT = 2 * 1024 * 1024
#: Folders that every machine has with files of all kinds: sources, tables, images, binaries.
SOURCES = ["/usr/share", sysconfig.get_paths()["stdlib"], "/usr/bin", "/usr/lib"]


def real_files() -> list[Path]:
    """As many, from each source by turns, none over the limit."""

    def fitting(source: str) -> Iterator[Path]:
        for file in Path(source).rglob("*"):
            # A quote would end it in curl's configuration; a backslash is in no path of ours.
            if file.is_file() and not file.is_symlink() and not set('"\\') & set(str(file)):
                if file.stat().st_size <= LIMIT:
                    yield file

    by_turns = chain.from_iterable(zip_longest(*map(fitting, SOURCES)))
    return list(islice(filter(None, by_turns), COUNT))


def curl(folder: Path, sections: list[str]) -> str:
    """One curl for all of *sections* of its configuration; what it prints."""
    config = folder / "curl.conf"
    config.write_text("\nnext\n".join(sections))
    command = ["curl", "--silent", "--show-error", "--fail-early", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_thousands_of_real_files(each_store, tmp_path):
    server = Sfss(*each_store, "--no-access-log")
    files = real_files()
    assert len(files) == COUNT
    uploads, downloads = [], []
    for number, file in enumerate(files):
        query = "path=" + quote(f"real{file}", safe="/")
        url = f"{server.url}/file{'s' if number % 2 else ''}?{query}"
        if number % 4 < 2:
            body = f'form = "upload_file=@\\"{file}\\""\nrequest = {"POST" if number % 2 else "PUT"}'
        else:
            body = f'upload-file = "{file}"\nrequest = {"POST" if number % 2 else "PUT"}'
        uploads.append(
            f'url = "{url}"\n{body}\nfail\ngloboff\noutput = /dev/null\nwrite-out = "%{{http_code}}\\n"'
        )
        downloads.append(
            f'url = "{server.url}/file?{query}"\nfail\ngloboff\noutput = "{tmp_path}/back/{number}"'
            f'\nwrite-out = "%{{http_code}}\\n"'
        )
    (tmp_path / "back").mkdir()
    try:
        codes = curl(tmp_path, uploads).split()
        assert codes == ["201" if n % 2 else "200" for n in range(len(files))]
        assert set(curl(tmp_path, downloads).split()) == {"200"}
    finally:
        server.stop()
    different = [
        file
        for number, file in enumerate(files)
        if (tmp_path / "back" / str(number)).read_bytes() != file.read_bytes()
    ]
    assert different == []
    total = sum(file.stat().st_size for file in files)
    print(f"{len(files)} files, {total / 1e6:.0f} MB")
