"""Users that are configured by a file, and commands that are called in a folder that is another one."""

import signal
import subprocess
import sys

import pytest

from sfss.cli.accounts import read
from sfss.errors import SettingsError
from tests.http import ask, request
from tests.objects.test_swift import user
from tests.programs import ROOT, SfssObjects
from tests.test_workers import until


def status(service: SfssObjects, name: str, key: str) -> int:
    """Of signing in."""
    return ask(
        service.port, request("GET", "/auth/v1.0", headers={"X-Auth-User": name, "X-Auth-Key": key})
    ).status


def until_status(service: SfssObjects, name: str, key: str, wanted: int) -> None:
    until(lambda: status(service, name, key) == wanted, 30.0)


def test_users_of_a_file(tmp_path):
    file = tmp_path / "accounts"
    file.write_text("# who\n\nshop:web k1\n  shop:report k2 read-only\n")
    file.chmod(0o644)
    flags = ("--accounts", file)
    service = SfssObjects(tmp_path / "data", *flags, key="k1")
    assert "first start" not in service.printed() and "everybody on this machine" in service.printed()
    assert status(service, "shop:web", "k1") == status(service, "shop:report", "k2") == 200
    assert status(service, "main:admin", "k1") == 401
    user(service, "add", "other:by-hand", "--key", "k3")
    user(service, "disable", "shop:report")
    file.write_text("shop:web k4 read-only\nshop:report k2 read-only\nnew:one k5\n")
    file.chmod(0o600)
    service.send(signal.SIGHUP)
    until_status(service, "new:one", "k5", 200)
    until_status(service, "shop:web", "k4", 200)
    assert status(service, "shop:web", "k1") == 401
    assert status(service, "other:by-hand", "k3") == 200
    until_status(service, "shop:report", "k2", 403)  # who is disabled stays so
    listed = user(service, "list")
    assert "shop:web read-only\n" in listed and "shop:report read-only disabled" in listed
    assert service.stop() == 0
    file.write_text("shop:web\n")
    command = [sys.executable, "-m", "sfss", "objects", "--data", tmp_path / "data", "--port", "0", *flags]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "line 1 has not the form" in done.stderr


@pytest.mark.parametrize(
    "text", ["a:b", "a k", "a:b k x", "a:b k read-only x", "a:b k\na:b k", "ä:b k", "\udcff"]
)
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "accounts").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match="accounts"):
        read(tmp_path / "accounts")
    with pytest.raises(SettingsError, match="cannot be read"):
        read(tmp_path / "none")


@pytest.mark.parametrize("command", ["fsck", "usage", "user list", "user disable a:b", "user rotate a:b"])
def test_another_folder_is_not_taken_for_an_empty_service(tmp_path, command):
    command = [sys.executable, "-m", "sfss", "objects", *command.split(), "--data", str(tmp_path / "typo")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "there is no catalog" in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []
