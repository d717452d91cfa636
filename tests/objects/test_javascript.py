"""AWS's SDK for JavaScript, and a page in a browser that uses URLs which it has signed."""

import functools
import json
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import cannot
from tests.objects.test_clients import SCRIPTS
from tests.programs import INSTALL, ROOT, SfssObjects, find

MODULES = ROOT / ".node-clients" / "node_modules"


@pytest.fixture
def origin(tmp_path):
    """A page of another site."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<!doctype html><title>page</title>")
    serve = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(async answer => done([answer.status, await answer.text()]), error => done(["" + error]));
"""


def test_the_sdk_and_a_page(tmp_path, origin, browser):
    if not MODULES.exists():
        cannot(f"the SDK is not installed: {INSTALL}")
    service = SfssObjects(tmp_path / "objects")
    script = tmp_path / "aws_sdk.mjs"  # modules are looked for beside the script
    script.write_text((SCRIPTS / "aws_sdk.mjs").read_text())
    (tmp_path / "node_modules").symlink_to(MODULES)
    command = [find("node"), script, service.url, "main", "admin", service.key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    urls = json.loads(done.stdout.splitlines()[-1])
    browser.get(origin)
    put = {"method": "PUT", "body": "from a page", "headers": {"Content-Type": "text/plain"}}
    assert browser.execute_async_script(FETCH, urls["put"], put) == [200, ""]
    assert browser.execute_async_script(FETCH, urls["get"], {}) == [200, "from a page"]
    # A page sees why it was refused; and one of a site that may not come in sees nothing.
    status, text = browser.execute_async_script(FETCH, urls["get"].replace("Signature=", "Signature=0"), {})
    assert status == 403 and "<Code>SignatureDoesNotMatch</Code>" in text
    browser.get(origin.replace("127.0.0.1", "localhost"))
    assert "TypeError" in browser.execute_async_script(FETCH, urls["get"], {})[0]
    assert service.stop() == 0
    assert "Traceback" not in service.printed()
