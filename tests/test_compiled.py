"""The hot modules, compiled or as they are."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from sfss import compiled
from tests.conftest import cannot
from tests.http import ask, request
from tests.programs import ROOT, Sfss

#: So a server runs the modules as they are.
PURE = ("env", f"{compiled.PURE_VARIABLE}=1")


def test_where_there_is_a_compiler_they_are_compiled():
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        cannot("a C compiler and Python's headers are needed")
    assert compiled.folder().is_dir(), "run scripts/compile"
    assert compiled.folder().stat().st_mode & 0o777 == 0o755  # root compiles, and another user serves
    environment = {name: value for name, value in os.environ.items() if name != compiled.PURE_VARIABLE}
    code = "import sfss.cli.main; from sfss import compiled; print(compiled.kind())"
    for more, expected in (({}, "compiled"), ({compiled.PURE_VARIABLE: "1"}, "pure Python")):
        printed = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**environment, **more}, check=True, capture_output=True
        ).stdout  # fmt: skip
        assert printed.decode().strip() == expected


@pytest.mark.parametrize("prefix", [(), PURE])
def test_a_server_says_which_it_runs(tmp_path, prefix):
    class Either(Sfss):
        command = (*prefix, *Sfss.command)

    server = Either("--data", tmp_path)
    content = os.urandom(100_000)
    assert ask(server.port, request("PUT", "/file?path=a", content)).status == 200
    assert ask(server.port, request("GET", "/file?path=a")).body == content
    said = ask(server.port, request("GET", "/status?full=1")).body.decode()
    kind = re.search(r'"modules": "(.*?)"', said)[1]
    assert kind == ("pure Python" if prefix else compiled.kind())
    assert server.stop() == 0


def test_what_is_made_of_other_sources_is_not_used(tmp_path):
    """Who changes a module runs what he has written, and not what was compiled before."""
    if not compiled.folder().is_dir():
        cannot("they are not compiled")
    shutil.copytree(ROOT / "sfss", tmp_path / "sfss", ignore=shutil.ignore_patterns("__pycache__"))
    place = tmp_path / "build" / "compiled" / compiled.folder().name
    shutil.copytree(compiled.folder(), place)
    code = "import sfss.cli.main; from sfss import compiled; print(compiled.kind())"

    def kind() -> str:
        environment = {name: v for name, v in os.environ.items() if name != compiled.PURE_VARIABLE}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True
        )
        return done.stdout.decode().strip()

    assert kind() == "compiled"
    module = tmp_path / "sfss" / "http" / "messages.py"
    module.write_text(module.read_text() + "\n")
    assert kind() == "pure Python"


def test_every_module_of_the_list_is_there():
    for module in compiled.MODULES:
        assert compiled.source_of(module).is_file(), module


def test_nothing_that_mypyc_makes_a_crash_of():
    """It loses the error that a handler has, when that awaits something and then raises it again (mypyc 2.4)."""
    for module in compiled.MODULES:
        tree = ast.parse(compiled.source_of(module).read_text())
        for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
            inside = [node for statement in handler.body for node in ast.walk(statement)]
            raises_again = any(isinstance(node, ast.Raise) and node.exc is None for node in inside)
            awaits = any(isinstance(node, ast.Await) for node in inside)
            assert not (awaits and raises_again), f"{module}, line {handler.lineno}"
