"""The whole HTTP surface, as its own document tells it, under schemathesis's hands."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.http import ask, request
from tests.programs import Sfss


@pytest.mark.parametrize("flags", [[], ["--write-token", "writer", "--signing-key", "0123456789abcdef"]])
def test_no_500_and_nothing_that_the_document_does_not_tell(flags, tmp_path):
    server = Sfss("--data", tmp_path / "data", "--upload-timeout", 5, *flags)
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json"]
    command += ["--max-examples", "45", "--seed", "20261120", "--no-color"]
    # A condition that does not hold is no fault of ours, and tokens are not in the document.
    command += ["--exclude-checks", "positive_data_acceptance,ignored_auth"]
    if flags:
        command += ["-H", "Authorization: Bearer writer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "Tested: 13" in done.stdout
    assert ask(server.port, request("GET", "/healthz")).status == 200
    server.stop()
    assert "Traceback" not in server.printed()
