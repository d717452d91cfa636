"""The command line: what it says when it is called wrong, and names of files in any locale."""

import os
import subprocess
import sys
import urllib.parse

import pytest

from sfss.cli.parser import GROUPS
from sfss.config.gateway import FIELDS
from tests.http import ask, request
from tests.programs import ROOT, Sfss, SfssNode, free_port


def sfss(*arguments: object, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sfss", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, env={**os.environ, **env}
    )


@pytest.mark.parametrize("arguments, complaint", [
    (["--prot", "8256"], "there is no flag --prot; did you mean --port?"),
    (["--prot=8256"], "there is no flag --prot; did you mean --port?"),
    (["--port", "8256", "--frobnicate"], "there is no flag --frobnicate\n"),
    (["--workers", "2", "--no-acces-log"], "did you mean --no-access-log?"),
    (["--port", "x"], "argument --port: invalid int value: 'x'"),
    (["frobnicate"], "invalid choice: 'frobnicate'"),
    (["put"], "the following arguments are required: FILE"),
    (["put", "x", "--paralel", "2"], "--paralel"),
    (["node", "--storag", "x"], "there is no flag --storag; did you mean --storage?"),
    (["node", "-x"], "there is no flag -x"),
    (["--por", "1"], "there is no flag --por; did you mean --port?"),
])  # fmt: skip
def test_what_is_called_wrong_is_said_in_two_lines(arguments, complaint):
    done = sfss(*arguments)
    assert done.returncode == 2 and complaint in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 2 and "--help'" in done.stderr
    assert "usage" not in done.stderr


@pytest.mark.parametrize("command", ["completion zsh", "completion bash"])
def test_who_reads_the_output_may_have_enough(command):
    """And where it goes may be full: both without a traceback."""
    sfss = f"{sys.executable} -m sfss {command}"
    script = f"{sfss} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}; {sfss} > /dev/full; echo $?"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    pipe, full = done.stdout.split()
    assert pipe in ("0", "141") and full == "1" and "No space left" in done.stderr, done
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed, tmp_path):
    """libuv ends a program that has a connection where they should be."""
    server = Sfss("--data", tmp_path)
    command = f"{sys.executable} -m sfss ls --url {server.url} {closed}; echo $? > {tmp_path}/code"
    subprocess.run(["bash", "-c", command], cwd=ROOT, timeout=60)
    assert (tmp_path / "code").read_text() == "0\n"
    server.stop()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show(encoding, tmp_path):
    server = Sfss("--data", tmp_path)
    assert ask(server.port, request("PUT", "/file?path=%C3%BC%E2%82%AC", b"x")).status == 200
    command = [sys.executable, "-m", "sfss", "ls", "--url", server.url]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert done.returncode == 0 and done.stdout.strip() == "ü€".encode(encoding, "backslashreplace")
    server.stop()


@pytest.mark.parametrize("toml, complaint", [
    ("[server]\nport = 1\n", "remove the line [server]"),
    ('write-token = ["x"]\n', "there is no setting 'write-token'; did you mean write_token?"),
    ('port = "8255"\n', "port is '8255'; it must be a whole number; without quotes: port = 8255"),
    ('port = "x"\n', "port is 'x'; it must be a whole number\n"),
    ('proxy = "10.0.0.1:7900"\n', 'it must be a list of strings: proxy = ["10.0.0.1:7900"]'),
    ("page = 1\n", "page is 1; it must be true or false, such as page = true"),
    ('write_token = "secret"\n', "write_token is something else; it must be a list of strings"),
    ('prot = 1\n', "did you mean port?"),
])  # fmt: skip
def test_hints_for_a_file_of_settings(tmp_path, toml, complaint):
    file = tmp_path / "sfss.toml"
    file.write_text(toml)
    done = sfss("--config", file)
    assert done.returncode == 2 and complaint in done.stderr, done.stderr
    assert "'secret'" not in done.stderr


def test_rules_that_tie_settings_hold_for_the_result(tmp_path):
    file = tmp_path / "sfss.toml"
    file.write_text(f'request_timeout = 1.0\nport = {free_port()}\ndata = "{tmp_path / "data"}"\n')
    done = sfss("--config", file)
    assert done.returncode == 2 and "operation_timeout (2)" in done.stderr

    class Configured(Sfss):
        command = (*Sfss.command, "--config", file)

    os.environ["SFSS_OPERATION_TIMEOUT"] = "0.5"
    try:
        server = Configured()
    finally:
        del os.environ["SFSS_OPERATION_TIMEOUT"]
    assert server.stop() == 0


def test_help_shows_commands_first_and_every_setting_once():
    shown = sfss("--help").stdout
    assert shown.index("put  ") < shown.index("--port") and len(shown.splitlines()[0]) < 80
    for name in FIELDS:
        assert shown.count(f"\n  --{name.replace('_', '-')}") >= 1, name
    names = [name for names in GROUPS.values() for name in names]
    assert sorted(names) == sorted(FIELDS)
    node = sfss("node", "--help").stdout
    assert "--storage" in node and "--write-token" in node and "--data" not in node


@pytest.mark.parametrize("files, complaint", [
    (("--write-token-file", "/nowhere/tokens"), "/nowhere/tokens cannot be read: No such file or directory\n"),
    (("--ssl", "--sslcert", "/nowhere/cert", "--sslkey", __file__), "sslcert /nowhere/cert: No such file or directory"),
    (("--ssl", "--sslcert", __file__, "--sslkey", "/nowhere/key"), "sslkey /nowhere/key: No such file or directory"),
])  # fmt: skip
def test_a_file_that_is_missing_is_named_once(tmp_path, files, complaint):
    done = sfss("--data", tmp_path, "--port", 0, *files)
    assert done.returncode in (1, 2) and complaint in done.stderr
    assert "Errno" not in done.stderr


def test_where_it_listens_it_says_what_to_do_first(tmp_path):
    server = Sfss("--data", tmp_path / "data")
    line = next(line for line in server.printed().splitlines() if "listening" in line)
    assert f"page={server.url}/" in line
    assert f"curl -T photo.jpeg '{server.url}/file?path=photo.jpeg'" in line
    server.stop()
    node = SfssNode(tmp_path, "--log-level", "warning", "--host", "0.0.0.0", "--write-token", "w")
    line = next(line for line in node.printed().splitlines() if "listening" in line)
    assert f"page=http://127.0.0.1:{node.port}/_page/" in line and "Bearer $TOKEN" in line
    node.stop()


def test_a_node_says_only_what_matters_unless_it_is_asked_to(tmp_path):
    class Quiet(SfssNode):
        command = tuple(part for part in SfssNode.command if part not in ("--log-level", "info"))

    for flags, says_more in (((), False), (("-v",), True)):
        node = Quiet(tmp_path / str(len(flags)), *flags)
        ask(node.port, request("PUT", "/x", b"1"))
        node.stop()
        assert ("INFO request" in node.printed()) is says_more
        assert node.printed().count(" INFO ") == 1 or says_more


def test_the_commands_take_the_server_from_the_environment(tmp_path):
    server = Sfss("--data", tmp_path / "data")
    (tmp_path / "a.txt").write_bytes(b"content")
    assert sfss("put", tmp_path / "a.txt", SFSS_URL=server.url).returncode == 0
    assert sfss("get", "a.txt", "-o", "-", SFSS_URL=server.url).stdout == "content"
    server.stop()
    done = sfss("get", "a.txt", "--url", f"http://127.0.0.1:{free_port()}")
    assert "ssl:default" not in done.stderr and "cannot connect: Connection refused" in done.stderr


def test_a_certificate_of_ones_own(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--sslcert", tmp_path / "cert", "--sslkey", tmp_path / "key")
    server = Sfss("--data", tmp_path / "data", "--ssl", *files)
    url = f"https://localhost:{server.port}"
    (tmp_path / "a.txt").write_bytes(b"content")
    done = sfss("put", tmp_path / "a.txt", "--url", url)
    assert done.returncode == 1 and "certificate is not trusted: self-signed certificate" in done.stderr
    assert sfss("put", tmp_path / "a.txt", "--url", url, "--cafile", tmp_path / "cert").returncode == 0
    done = sfss("get", "a.txt", "-o", "-", "--url", url, SFSS_CAFILE=str(tmp_path / "cert"))
    assert done.stdout == "content"
    server.stop()


@pytest.mark.parametrize("names", ["exact", "generated"])
def test_the_commands_speak_to_nodes(tmp_path, names):
    node = SfssNode(tmp_path / "node", "--names", names)
    (tmp_path / "file.txt").write_bytes(b"content")
    done = sfss("put", tmp_path / "file.txt", "--to", "a", "--url", node.url)
    assert done.returncode == 0, done.stderr
    path = done.stdout.split()[-1] if names == "generated" else "a/file.txt"
    assert path.startswith("a/file")
    assert sfss("get", path, "-o", "-", "--url", node.url).stdout == "content"
    assert '"queues"' in sfss("status", "--url", node.url).stdout
    assert sfss("rm", path, "--url", node.url).returncode == 0
    assert sfss("rm", path, "--url", node.url).returncode == 1
    node.stop()


# Locales in which Python takes names of files for ASCII or Latin-1.

LOCALES = [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
]
NAME = "ü/名前.txt"


@pytest.mark.parametrize("env", LOCALES, ids=["C without coercion", "POSIX"])
@pytest.mark.parametrize("kind", ["node", "directory"])
def test_paths_are_utf8_whatever_the_locale(tmp_path, monkeypatch, env, kind):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    if kind == "node":
        server, target = SfssNode(tmp_path, "--names", "exact"), f"/{urllib.parse.quote(NAME)}"
    else:
        server = Sfss("--store", f"directory:{tmp_path / 'storage'}")
        target = f"/file?path={urllib.parse.quote(NAME)}"
    assert ask(server.port, request("PUT", target, b"content")).status in (200, 201)
    assert ask(server.port, request("GET", target)).body == b"content"
    assert (bytes(tmp_path / "storage") + b"/" + NAME.encode()).decode() and os.path.exists(
        bytes(tmp_path / "storage") + b"/" + NAME.encode()
    )
    assert ask(server.port, request("DELETE", target)).status == 204
    assert server.stop() == 0
    assert "Traceback" not in server.printed()


@pytest.mark.parametrize("env", LOCALES, ids=["C without coercion", "POSIX"])
def test_uploads_have_the_names_of_their_files_whatever_the_locale(tmp_path, env):
    server = Sfss("--data", tmp_path / "data")
    file = bytes(tmp_path) + b"/" + "名前.txt".encode()
    with open(file, "wb") as stream:
        stream.write(b"content")
    done = sfss("put", os.fsdecode(file), "--url", server.url, **env)
    assert done.returncode == 0, done.stderr
    answer = ask(server.port, request("GET", f"/file?path={urllib.parse.quote('名前.txt')}"))
    assert answer.body == b"content"
    server.stop()
