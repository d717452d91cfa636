"""The packages: that nothing is missing in them, and that they work without the clone."""

import json
import re
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from sfss import compiled
from tests.conftest import need
from tests.http import ask, request
from tests.programs import ROOT, Program, free_port


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The source archive and the wheel, and the folder into which the archive was unpacked."""
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run([ROOT / "scripts/make-packages", folder], check=True, capture_output=True)
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (root,) = (folder / "unpacked").iterdir()
    return archive, wheel, root


def test_the_source_archive_has_what_git_has(packages):
    archive, _, root = packages
    if not (ROOT / ".git").exists():
        return  # this is a source archive itself
    kept = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    missing = [name for name in kept.split("\0") if name and not (root / name).exists()]
    assert not missing
    known = {*kept.split("\0"), "PKG-INFO", "setup.cfg"}
    with tarfile.open(archive) as opened:
        there = {member.name.partition("/")[2] for member in opened if member.isfile()}
    assert {name for name in there - known if ".egg-info/" not in name} == set()
    assert (root / "bootstrap.py").stat().st_mode == (ROOT / "bootstrap.py").stat().st_mode


def test_the_source_archive_passes_tests_of_its_own(packages):
    """Some of them: those of what is read from files that only a package can lack."""
    _, _, root = packages
    modules = [
        "test_paths",
        "test_media_types",
        "test_settings",
        "test_imports",
        "test_page_history",
        "objects/test_catalog",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"tests/{module}.py" for module in modules],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "SFSS_PURE": "1", "PYTHONPATH": str(root)},
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_the_wheel_is_whole(packages):
    _, wheel, root = packages
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = opened.read(metadata).decode()
    wanted = {str(file.relative_to(root)) for file in (root / "sfss").rglob("*.*")}
    assert {name for name in wanted - names if "__pycache__" not in name} == set()
    assert not [name for name in names if name.startswith(("tests", "bench"))]
    for line in ("License-Expression: BSD-3-Clause", "Provides-Extra: django", "Requires-Python: >=3.11"):
        assert line in said


def test_the_wheel_runs_by_itself(packages, tmp_path):
    """In an environment of its own, which has its dependencies from ours."""
    _, wheel, _ = packages
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            wheel,
        ],
        check=True,
    )
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(ours))
    where = subprocess.run(
        [python, "-c", "import sfss; print(sfss.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert where.startswith(str(site))
    sfss = tmp_path / "venv/bin/sfss"
    port = free_port()
    server = Program([sfss, "--port", port, "--data", tmp_path / "data"], cwd=tmp_path)
    server.wait_for_port(port)
    file = tmp_path / "a.txt"
    file.write_bytes(b"content")
    url = f"http://127.0.0.1:{port}"
    for command in (["put", file], ["cat", "a.txt"]):
        done = subprocess.run([sfss, *command, "--url", url], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == b"content"
    server.stop()


def test_the_debian_package(tmp_path):
    """Unpacked, not installed: it runs from where it lies, with nothing but what is in it."""
    need("dpkg-deb")
    made = subprocess.run([ROOT / "scripts/make-deb", tmp_path], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    (package,) = tmp_path.glob("sfss_*.deb")
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        rights, owner, _ = line.split(maxsplit=2)
        assert (owner == "root/root" and rights[7] == "r" and rights[8] != "w") or rights[0] == "l", line
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    subprocess.run(["dpkg-deb", "-e", package, tmp_path / "control"], check=True)
    assert "Package: sfss\n" in (tmp_path / "control/control").read_text()
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", tmp_path / "control" / script], check=True)
    for unit in ("sfss.service", "sfss-node.service"):
        (command,) = re.findall(r"^ExecStart=(/\S+)", (root / "lib/systemd/system" / unit).read_text(), re.M)
        assert (root / command[1:]).exists()
    # -S: nothing of this environment; what it lacks is missing there, too.
    program = [sys.executable, "-S", root / "opt/sfss/bin/sfss"]
    port = free_port()
    config = root / "etc/sfss/sfss.toml"
    server = Program(
        [*program, "--config", config, "--data", tmp_path / "data", "--port", port, "--workers", 1],
        cwd=tmp_path,
    )
    server.wait_for_port(port)
    said = json.loads(ask(port, request("GET", "/status?full=1")).body)
    assert said["webserver"]["modules"] == compiled.kind()
    assert server.stop() == 0
