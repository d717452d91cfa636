#!/usr/bin/env python3
"""Make everything that ./bin/sfss and ./bin/test need, in this folder.

    python3 bootstrap.py                      an environment in .venv, and ./bin
    python3 bootstrap.py --with-test-stores   and the stores that the tests run against

The packages, in the versions that buildout.cfg names, come from where pip's own configuration
says. Running it again is cheap: what is there already stays. Needs Python 3.11 or newer and
nothing else; on Debian, as root, it installs python3-venv if that is missing.
"""

import argparse
import configparser
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "sfss-bootstrap"
OLDEST = (3, 11)


class Failed(Exception):
    """A step failed. The message says which, and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--with-test-stores",
        action="store_true",
        help="also install the stores that the tests run against (tests/install-stores.sh)",
    )
    parser.add_argument(
        "-v",
        "--version",
        metavar="VERSION",
        help="another version of zc.buildout than buildout.cfg names",
    )
    options = parser.parse_args()
    try:
        if sys.version_info < OLDEST:
            raise Failed(
                f"This is Python {sys.version.split()[0]}; sfss needs {OLDEST[0]}.{OLDEST[1]} or newer."
            )
        set_up(options.version)
        compiling = start_compiling()
        if options.with_test_stores:
            try:
                run(
                    ["sh", HERE / "tests" / "install-stores.sh"],
                    "The stores for the tests could not be installed; what failed stands above.",
                )
            except Failed:
                if compiling is not None:
                    compiling.kill()
                raise
            compiling = compiling or start_compiling()  # there may be a compiler now
        end_compiling(compiling)
        print("Ready: ./bin/sfss serves, ./bin/test tests.")
    except Failed as error:
        print(f"bootstrap.py: {error}", file=sys.stderr)
        return 1
    return 0


def set_up(buildout_version) -> None:
    versions = pinned_versions()
    if buildout_version:
        versions["zc.buildout"] = buildout_version
    wanted = hashlib.sha256(repr((sorted(versions.items()), sys.version, str(HERE))).encode()).hexdigest()
    if not (PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted):
        make_environment()
        install(versions)
        STAMP.write_text(wanted)
    buildout = VENV / "bin" / "buildout"
    if not (HERE / "bin" / "buildout").exists():
        run([buildout, "-q", "bootstrap"], "zc.buildout could not be set up.")
    run([buildout, "-q"], "zc.buildout could not make ./bin from buildout.cfg.")
    # Who may not write here (the user of the server), or is told not to (PYTHONDONTWRITEBYTECODE), would compile all
    # modules at each start.
    run([PYTHON, "-m", "compileall", "-q", "sfss"], "The modules of sfss could not be compiled.")


def pinned_versions() -> dict:
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str
    try:
        config.read(str(HERE / "buildout.cfg"))
        return dict(config["versions"])
    except (configparser.Error, KeyError, UnicodeError) as error:
        raise Failed(f"buildout.cfg cannot be read, or has no [versions]: {error}") from error


def make_environment() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        install_venv()
    print(f"Making an environment in {VENV}", flush=True)
    # Never by the Python of the environment that is about to be removed.
    python = getattr(sys, "_base_executable", None) or sys.executable
    if VENV.is_symlink():
        VENV.unlink()
    shutil.rmtree(VENV, ignore_errors=True)
    run([python, "-m", "venv", VENV], "The virtual environment could not be made.")


def install_venv() -> None:
    """Debian keeps ensurepip, without which there is no pip, in a package of its own."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Failed(f"This Python cannot make virtual environments. On Debian: apt-get install {package}")
    print(f"Installing {package}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    hint = f"{package} could not be installed; what failed stands above."
    run(["apt-get", "-qq", "update"], hint, environment)
    run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", package], hint, environment)


def install(versions: dict) -> None:
    print(f"Installing {len(versions)} packages", flush=True)
    run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        + [f"{name}=={version}" for name, version in versions.items()],
        "The packages could not be installed; pip says above what failed. If it could not "
        "reach its index, see that there is a network, or that pip is told where its packages "
        "are (pip config set global.index-url URL), and run this again.",
    )


def start_compiling():
    """The program that compiles the hot modules, beside what else is to be done; None: there is no compiler."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which("cc") is None or not headers.exists():
        return None
    print("Compiling the hot modules, if they have changed", flush=True)
    return subprocess.Popen([str(PYTHON), str(HERE / "scripts" / "compile")], cwd=str(HERE))


def end_compiling(program) -> None:
    """Faster than the same modules uncompiled; without a compiler it runs all the same."""
    if program is None:
        print("There is no C compiler, or Python's headers are missing: running uncompiled, and slower.")
    elif program.wait():
        print("They could not be compiled: running uncompiled, and slower.", file=sys.stderr)


def run(command: list, hint: str, environment=None) -> None:
    try:
        code = subprocess.run(list(map(str, command)), cwd=HERE, env=environment).returncode
    except OSError as error:
        raise Failed(f"{hint} ({command[0]}: {error.strerror})") from error
    if code:
        raise Failed(f"{hint} ({Path(command[0]).name} ended with {code})")


if __name__ == "__main__":
    sys.exit(main())
