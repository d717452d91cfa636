"""The clients that people have, unmodified, against a real service over real stores."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import cannot, need
from tests.programs import INSTALL, ROOT, Program, SfssObjects
from tests.test_auth import make_certificate

CLIENTS = ROOT / ".venv-clients" / "bin"
SCRIPTS = ROOT / "tests" / "objects" / "clients"


@pytest.fixture(autouse=True)
def clients():
    if not (CLIENTS / "swift").exists():
        cannot(f"the clients are not installed: {INSTALL}")


@pytest.fixture(params=["embedded", "beansdb"])
def service(request, tmp_path):
    """Over the embedded store with SQLite, and over three gobeansdb nodes with PostgreSQL."""
    flags = []
    if request.param == "beansdb":
        flags += ["--catalog", request.getfixturevalue("postgres_server").new_database()]
        for port in request.getfixturevalue("beansdb_nodes"):
            flags += ["--beansdb", f"127.0.0.1:{port}"]
    service = SfssObjects(tmp_path / "objects", "--workers", 2, *flags)
    service.wait_until_ready()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.printed()


@pytest.fixture
def embedded(tmp_path):
    """The embedded store alone: for programs that take their time."""
    service = SfssObjects(tmp_path / "objects", "--workers", 2)
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


@pytest.mark.parametrize("script", ["libcloud_tutorial.py", "libcloud_s3.py"])
def test_the_newest_libcloud(embedded, tmp_path, monkeypatch, script):
    monkeypatch.setenv("PYTHONPATH", str(CLIENTS.parent / "newer"))
    run(script, embedded, tmp_path)


def test_openstacksdk(service, tmp_path):
    run("openstacksdk_objects.py", service, tmp_path)


def test_boto3(service, tmp_path):
    run("boto3_objects.py", service, tmp_path)


def test_boto3_beside_the_bytes(service, tmp_path):
    run("boto3_more.py", service, tmp_path)


def test_versions_by_boto3(service, tmp_path):
    run("boto3_versions.py", service, tmp_path)


def test_django_storages(embedded, tmp_path):
    run("django_storages.py", embedded, tmp_path)


def test_boto3_over_tls(tmp_path, monkeypatch):
    """Its checksums come as trailers then."""
    cert, key = make_certificate(tmp_path, "localhost")
    flags = ["--ssl", "--sslcert", cert, "--sslkey", key, "--host", "localhost"]
    service = SfssObjects(tmp_path / "objects", *flags)
    monkeypatch.setenv("SFSS_TEST_CA", str(cert))
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    run("boto3_objects.py", service, tmp_path)
    assert service.stop() == 0


@pytest.fixture
def tree(tmp_path):
    """Some files, among them a large one, an empty one, and odd names."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(30):
        (tree / "sub" / f"é {number} +&.bin").write_bytes(os.urandom(number * 700))
    (tree / "large").write_bytes(os.urandom(12_000_000))
    return tree


def command(*parts: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in parts],
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
        | {"LC_ALL": "C.UTF-8"}
        | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _succeeds(*parts: object) -> bool:
    try:
        command(*parts)
    except AssertionError:
        return False
    return True


def are_same(one, other) -> bool:
    return not command("diff", "-r", one, other)


def test_the_aws_command(embedded, tree, tmp_path):
    environment = {"AWS_ACCESS_KEY_ID": "main:admin", "AWS_SECRET_ACCESS_KEY": embedded.key}

    def aws(*arguments: object) -> str:
        parts = [CLIENTS / "aws", "--endpoint-url", embedded.url, "s3", *arguments]
        return command(*parts, AWS_DEFAULT_REGION="us-east-1", **environment)

    aws("mb", "s3://bucket")
    aws("sync", tree, "s3://bucket/t")
    aws("sync", "s3://bucket/t", tmp_path / "back")
    assert are_same(tree, tmp_path / "back") and aws("sync", tree, "s3://bucket/t") == ""
    aws("mv", "s3://bucket/t/large", "s3://bucket/moved")
    assert "moved" in aws("ls", "s3://bucket/") and "large" not in aws("ls", "s3://bucket/t/")
    aws("rb", "--force", "s3://bucket")


def test_rclone_by_both_apis(service, tree, tmp_path):
    try_rclone(CLIENTS / "rclone", service, tree, tmp_path)


def test_the_rclone_of_debian(embedded, tree, tmp_path):
    """Of 2022, and what many servers have."""
    need("rclone")
    try_rclone("rclone", embedded, tree, tmp_path)


def try_rclone(program: Path | str, service: SfssObjects, tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text(
        f"[s3]\ntype = s3\nprovider = Other\nendpoint = {service.url}\naccess_key_id = main:admin\n"
        f"secret_access_key = {service.key}\n"
        f"[swift]\ntype = swift\nauth = {service.url}/auth/v1.0\nuser = main:admin\nkey = {service.key}\n"
        f"chunk_size = 5M\n"
    )
    rclone = [program, "--config", config]
    for remote, other in (("s3", "swift"), ("swift", "s3")):
        place = f"{remote}:by-{remote}"
        command(*rclone, "sync", tree, f"{place}/t")
        command(*rclone, "check", tree, f"{place}/t")
        # What one has put, the other has, too.
        command(*rclone, "copy", f"{other}:by-{remote}/t", tmp_path / remote)
        assert are_same(tree, tmp_path / remote)
        command(*rclone, "copyto", f"{place}/t/large", f"{place}/x")
        mount(rclone, place, tmp_path / f"mounted-{remote}", tree)
        command(*rclone, "purge", place)


def mount(rclone: list[object], remote: str, place: Path, tree: Path) -> None:
    """Use what *remote* has as a folder, where this machine can do that at all."""
    place.mkdir()
    how = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "--cache-dir", place.with_suffix(".cache")]
    mounted = Program(["env", "-u", "AWS_CA_BUNDLE", *rclone, "mount", remote, place, *how])
    deadline = time.monotonic() + 30
    while not place.is_mount():
        if mounted.process.poll() is not None:  # there is no FUSE, or not for us
            assert re.search("fuse.*(not permitted|no such|not found)", mounted.printed(), re.IGNORECASE)
            return
        assert time.monotonic() < deadline, mounted.printed()
        time.sleep(0.05)
    try:
        assert are_same(tree, place / "t")
        content = (tree / "large").read_bytes()
        with open(place / "t/large", "rb") as file:
            file.seek(len(content) // 2)
            assert file.read(5000) == content[len(content) // 2 :][:5000]
        (place / "new ü").mkdir()
        shutil.copy(tree / "large", place / "new ü/large")
        shutil.copytree(
            tree, place / "new ü/tree", copy_function=shutil.copyfile
        )  # (times would come while it uploads)
        assert are_same(tree, place / "new ü/tree")
        (place / "t/large").unlink()
        while not _succeeds(*rclone, "check", tree, f"{remote}/new ü/tree"):  # it uploads when it likes
            assert time.monotonic() < deadline, mounted.printed()
    finally:
        command("fusermount3", "-u", place)
        mounted.process.wait(30)


def test_s5cmd(embedded, tree, tmp_path):
    environment = {
        "S3_ENDPOINT_URL": embedded.url,
        "AWS_ACCESS_KEY_ID": "main:admin",
        "AWS_SECRET_ACCESS_KEY": embedded.key,
        "AWS_REGION": "us-east-1",
    }

    def s5cmd(*arguments: object) -> str:
        return command(CLIENTS / "s5cmd", *arguments, **environment)

    s5cmd("mb", "s3://bucket")
    s5cmd("cp", "--part-size", 5, f"{tree}/*", "s3://bucket/t/")
    # It does not see what its clock takes for the future: what was put at this moment is there already.
    s5cmd("cp", "--part-size", 5, "s3://bucket/t/*", tmp_path / "back")
    assert are_same(tree, tmp_path / "back")
    assert s5cmd("sync", f"{tree}/", "s3://bucket/t/") == ""
    s5cmd("mv", "s3://bucket/t/large", "s3://bucket/moved")
    assert "moved" in s5cmd("ls", "s3://bucket/") and "large" not in s5cmd("ls", "s3://bucket/t/*")
    assert '"size":12000000' in s5cmd("head", "s3://bucket/moved")
    s5cmd("rm", "s3://bucket/*")
    s5cmd("rb", "s3://bucket")


def test_s3cmd(embedded, tree, tmp_path):
    need("s3cmd")
    host = embedded.url.removeprefix("http://")
    config = tmp_path / "s3cfg"
    config.write_text(
        f"[default]\naccess_key = main:admin\nsecret_key = {embedded.key}\nhost_base = {host}\n"
        f"host_bucket = {host}\nuse_https = False\n"
    )

    def s3cmd(*arguments: object) -> str:
        return command("s3cmd", "-c", config, *arguments)

    s3cmd("mb", "s3://bucket")
    s3cmd("sync", f"{tree}/", "s3://bucket/t/")
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", "s3://bucket/t/", f"{back}/")
    assert are_same(tree, back) and "12000000" in s3cmd("info", "s3://bucket/t/large")
    s3cmd("cp", "s3://bucket/t/large", "s3://bucket/copy")
    s3cmd("del", "--recursive", "--force", "s3://bucket")
    s3cmd("rb", "s3://bucket")


def test_restic(embedded, tree, tmp_path):
    need("restic")
    environment = {
        "RESTIC_REPOSITORY": f"s3:{embedded.url}/backups",
        "RESTIC_PASSWORD": "secret",
        "AWS_ACCESS_KEY_ID": "main:admin",
        "AWS_SECRET_ACCESS_KEY": embedded.key,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for arguments in (["init"], ["backup", tree], ["check", "--read-data"]):
        command("restic", *arguments, **environment)
    (tree / "sub" / "new").write_bytes(b"x")
    command("restic", "backup", tree, **environment)
    command("restic", "forget", "--keep-last", "1", "--prune", **environment)
    command("restic", "restore", "latest", "--target", tmp_path / "restored", **environment)
    (restored,) = (tmp_path / "restored").rglob("tree")
    assert are_same(tree, restored)


def test_the_sdk_for_ruby(embedded, tmp_path):
    need("ruby")
    arguments = [embedded.url, "main", "admin", embedded.key, tmp_path]
    assert command("ruby", SCRIPTS / "aws_sdk.rb", *arguments) == "all steps\n"


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
