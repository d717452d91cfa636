"""The clients that people have, unmodified, against a real service over real stores."""

import os
import subprocess

import pytest

from tests.conftest import cannot
from tests.programs import INSTALL, ROOT, SfssObjects

CLIENTS = ROOT / ".venv-clients" / "bin"
SCRIPTS = ROOT / "tests" / "objects" / "clients"


@pytest.fixture(autouse=True)
def clients():
    if not (CLIENTS / "swift").exists():
        cannot(f"the clients are not installed: {INSTALL}")


@pytest.fixture(params=["embedded", "beansdb"])
def service(request, tmp_path):
    """Over the embedded store, and over three gobeansdb nodes."""
    flags = []
    if request.param == "beansdb":
        for port in request.getfixturevalue("beansdb_nodes"):
            flags += ["--beansdb", f"127.0.0.1:{port}"]
    service = SfssObjects(tmp_path / "objects", "--workers", 2, *flags)
    service.wait_until_ready()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


def run(script: str, service: SfssObjects, tmp_path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    command = [CLIENTS / "python", SCRIPTS / script, service.url, "main", "admin", service.key, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.endswith("all steps\n"), done.stdout + done.stderr


def test_the_tutorial_with_libcloud(service, tmp_path):
    run("libcloud_tutorial.py", service, tmp_path)


def test_openstacksdk(service, tmp_path):
    run("openstacksdk_objects.py", service, tmp_path)


@pytest.mark.parametrize("is_static", [True, False], ids=["SLO", "DLO"])
def test_the_swift_command(service, tmp_path, is_static):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    contents = {"big": os.urandom(3_000_000), "sub/small é": b"hi\n", "sub/empty": b""}
    for name, content in contents.items():
        (source / name).write_bytes(content)

    def swift(*arguments: str, cwd=source) -> str:
        command = [CLIENTS / "swift", "-A", f"{service.url}/auth/v1.0", "-U", "main:admin", "-K", service.key]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    swift("upload", "c", ".", "--segment-size", "1000000", "--use-slo" if is_static else "--use-dlo")
    assert sorted(swift("list", "c").splitlines()) == sorted(contents)
    assert swift("list").splitlines() == ["c", "c_segments"]
    said = swift("stat", "c", "big")
    assert ("X-Static-Large-Object" in said) == is_static and ("Manifest:" in said) != is_static
    swift("post", "c", "sub/small é", "-m", "Colour:blue")
    assert "blue" in swift("stat", "c", "sub/small é")
    swift("download", "c", cwd=target)
    for name, content in contents.items():
        assert (target / name).read_bytes() == content
    swift("copy", "c", "sub/small é", "-d", "/d/copied")
    assert swift("download", "d", "copied", "-o", "-") == "hi\n"
    swift("delete", "c")
    swift("delete", "d")
    assert swift("list").splitlines() in (["c_segments"], [])
