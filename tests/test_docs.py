"""What is offered for production is tried here, as far as this machine can."""

import json
import re
import runpy
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from sfss.cli.arguments import Parser
from sfss.cli.parser import make_parser
from sfss.config.gateway import FIELDS
from sfss.config.node import NodeSettings
from sfss.config.server import fields_of
from sfss.stores.sqlite_backup import back_up
from tests.beansdb import Nodes
from tests.conftest import need
from tests.http import ask, request
from tests.programs import (
    ROOT,
    Program,
    Sfss,
    SfssNode,
    find,
    free_port,
    proxy_flags,
    start_memcached,
    start_nginx,
)

CONF = ROOT / "conf"
RUNBOOK = (ROOT / "docs" / "runbook.rst").read_text()


def pointed_at(text: str, gateways: list[Sfss], port: int, old_port: str, new_port: str) -> str:
    for number, gateway in enumerate(gateways, start=1):
        text = text.replace(f"10.0.0.1{number}:8255", f"127.0.0.1:{gateway.port}")
    assert "10.0.0.1" not in re.sub("#.*", "", text)
    assert old_port in text
    return text.replace(old_port, new_port.format(port=port))


def one_bad_file_takes_no_gateway_out(port: int, store: int) -> None:
    """The store refuses one file, again and again; the others are served."""
    assert ask(port, request("PUT", "/file?path=good", b"good")).status == 200
    for _ in range(12):
        # Too large for memcached's -I 3m, and not for the gateways: they answer 413 or 502.
        assert ask(port, request("PUT", "/file?path=bad", b"x" * 2_900_000)).status in (413, 502)
        assert ask(port, request("GET", "/file?path=good")).body == b"good"


def the_service_stands_a_lost_gateway(port: int, gateways: list[Sfss]) -> None:
    content = bytes(range(256)) * 5000
    answer = ask(port, request("POST", "/files?path=a%2Fb.txt", content))
    assert answer.status == 201
    for _ in range(10):
        answer = ask(port, request("GET", "/file?path=a/b.txt"))
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["etag"] and answer.headers["content-type"] == "text/plain"
    too_large = ask(port, request("PUT", "/file?path=large", b"x" * (2 * 1024 * 1024 + 1)))
    assert too_large.status == 413 and b"at most 2097152 bytes" in too_large.body
    for gateway in gateways:
        gateway.wait_for_line("remote=127.0.0.1")
    gateways[0].kill()
    for n in range(10):
        assert ask(port, request("PUT", f"/file?path=f{n}", b"x" * 1000)).status == 200
        assert ask(port, request("GET", f"/file?path=f{n}")).status == 200


@pytest.mark.parametrize("balancer", ["nginx", "haproxy"])
def test_balancers(balancer, tmp_path):
    need("memcached", balancer)
    memcached, store = start_memcached()
    gateways = [Sfss(*proxy_flags([store]), "--trust-forwarded-from", "127.0.0.1") for _ in range(2)]
    port = free_port()
    if balancer == "nginx":
        text = (CONF / "nginx" / "sfss.conf").read_text()
        text = pointed_at(text, gateways, port, "listen 80;", "listen 127.0.0.1:{port};")
        program = start_nginx(tmp_path, text, port)
    else:
        text = (CONF / "haproxy" / "haproxy.cfg").read_text()
        text = pointed_at(text, gateways, port, "bind :80", "bind 127.0.0.1:{port}")
        (tmp_path / "haproxy.cfg").write_text(text)
        command = [find("haproxy"), "-f", tmp_path / "haproxy.cfg"]
        checked = subprocess.run([str(c) for c in [*command, "-c"]], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        program = Program(command)
        program.wait_for_port(port)
    one_bad_file_takes_no_gateway_out(port, store)
    the_service_stands_a_lost_gateway(port, gateways)
    for running in [program, gateways[1], memcached]:
        running.stop()


# Prometheus and Grafana.


class Prometheus:
    """A real one, that looks at real servers of every kind once a second."""

    def __init__(self, folder: Path, ports: list[int]):
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
            f"  - job_name: sfss\n    static_configs: [{{targets: [{targets}]}}]\n"
        )
        self.port = free_port()
        self._program = Program(
            [
                find("prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
            ]
            + [f"--web.listen-address=127.0.0.1:{self.port}"]
        )
        self._program.wait_for_port(self.port)

    def query(self, expression: str) -> list:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(expression, safe='')}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    def has_answer(self, expression: str) -> bool:
        """Whether there is one, perhaps after some more looks at the servers."""
        for _ in range(40):
            if self.query(expression):
                return True
            time.sleep(0.25)
        return False

    def stop(self) -> None:
        self._program.stop()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    need("memcached", "prometheus", "gobeansdb")
    memcached, port = start_memcached()
    beans = Nodes(tmp_path_factory.mktemp("beans"))
    over_beans = Sfss(*beans.flags())
    gateway = Sfss(*proxy_flags([port, free_port()]), "--connect-timeout", 0.2)
    data = tmp_path_factory.mktemp("data")
    embedded = Sfss("--data", data)
    back_up(data, data / "copy.sqlite3")
    directory = Sfss("--store", f"directory:{tmp_path_factory.mktemp('files')}")
    ports = [free_port(), free_port()]
    nodes = [
        SfssNode(tmp_path_factory.mktemp("node"), "--node", f"http://127.0.0.1:{ports[1 - n]}", port=ports[n])
        for n in range(2)
    ]
    servers = [gateway, embedded, directory, over_beans, *nodes]
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), [server.port for server in servers])
    for second in range(8):
        for server in servers:
            target = f"/a{second}" if server in nodes else f"/file?path=a{second}"
            for method, body in (("PUT", b"x"), ("GET", b"")):
                ask(server.port, request(method, target, body))
        time.sleep(0.8)
    yield prometheus
    prometheus.stop()
    for program in [*servers, memcached]:
        program.stop()
    beans.stop()


_SELECTOR = re.compile(r"""\b((?:sfss_\w+|up)\b(?:\{(?:[^{}"]|"[^"]*")*\})?)""")


@pytest.mark.parametrize("name", ["sfss.json", "sfss-node.json"])
def test_the_dashboards_show_what_there_is(prometheus, name):
    """Each expression, asked of a Prometheus that looks at real servers, has an answer."""
    dashboard = json.loads((CONF / "grafana" / name).read_text())
    expressions = [target["expr"] for aggregate in dashboard["panels"] for target in aggregate["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        assert prometheus.has_answer(asked), asked
    assert len({aggregate["id"] for aggregate in dashboard["panels"]}) == len(dashboard["panels"])
    compose = (ROOT / "compose.yaml").read_text()
    assert f"./conf/grafana/{name}:" in compose


def test_the_dashboards_are_what_the_script_makes():
    script = runpy.run_path(str(ROOT / "scripts" / "make-dashboards"))
    for name, text in script["made"]().items():
        assert (CONF / "grafana" / name).read_text() == text, f"run scripts/make-dashboards: {name}"


def test_alerts_look_at_what_there_is(prometheus):
    """Each selector of each alert selects something that real servers expose, and each expression is one."""
    rules = yaml.safe_load((CONF / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert len(rules) >= 14
    for rule in rules:
        prometheus.query(rule["expr"])
        selectors = _SELECTOR.findall(rule["expr"])
        assert selectors, rule
        for selector in selectors:
            assert prometheus.has_answer(selector), (rule["alert"], selector)


def test_a_node_exposes_nothing_that_it_cannot_have(prometheus):
    query = 'sfss_requests_total{instance=~".*"} and on (instance) sfss_node_files'
    routes = {sample["metric"]["route"] for sample in prometheus.query(query)}
    assert "/file" not in routes and "/files" not in routes and "/{path}" in routes


def test_alerts(tmp_path):
    need("promtool")
    folder = CONF / "prometheus"
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run([find("promtool"), *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    rules = (folder / "alerts.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    explained = set(re.findall(r"^(Sfss\w+)$", RUNBOOK, re.MULTILINE))
    assert alerts == explained and len(alerts) >= 9
    tested = set(re.findall(r"alertname: (\w+)", (folder / "alerts.test.yml").read_text()))
    assert alerts == tested


def nginx_before_a_node(tmp_path: Path, node: SfssNode, conf: str, writers: str = "127.0.0.0/8"):
    """An nginx with the *conf* of ours before *node*, that lets *writers* write; and its port."""
    port = free_port()
    text = (CONF / "nginx" / conf).read_text()
    for there, here in (
        ("127.0.0.1:8080", f"127.0.0.1:{node.port}"),
        ("listen 80", f"listen 127.0.0.1:{port}"),
        ("10.0.0.0/24", writers),
        ("/var/lib/sfss/files", str(node.storage)),
    ):
        assert there in text or "files" in there
        text = text.replace(there, here)
    return start_nginx(tmp_path, text, port), port


@pytest.mark.parametrize("conf", ["sfss-node.conf", "sfss-node-files.conf"])
def test_nginx_before_a_node_opens_nothing(conf, tmp_path):
    need("nginx")
    node = SfssNode(tmp_path / "node")
    there = ask(node.port, request("PUT", "/there.png", b"x")).headers["location"]
    nginx, port = nginx_before_a_node(tmp_path, node, conf, writers="10.0.0.0/24")
    for method, target in (("PUT", "/new"), ("PUT", "/new.png"), ("DELETE", there), ("POST", there)):
        assert ask(port, request(method, target, b"x")).status == 403, method  # not from this address
    for target in (
        "/_status",
        "/metrics",
        "/_replication",
        "/_page",
        "/_page/",
        "/_page/page.json",
        "/%5fstatus",
    ):
        assert ask(port, request("GET", target)).status == 404, target
        assert ask(port, request("POST", target, b"x")).status == 404, target
    for target in ("/.sfss/owner", "/.sfss/x.png"):
        assert ask(port, request("GET", target)).status in (400, 404)
    nginx.stop()
    nginx, port = nginx_before_a_node(tmp_path, node, conf)
    written = ask(port, request("PUT", "/metrics/a.txt", b"a file beside what is reserved"))
    assert written.status == 201
    answer = ask(port, request("GET", written.headers["location"]))
    assert answer.body == b"a file beside what is reserved"
    assert ask(port, request("DELETE", there)).status == 200
    assert ask(port, request("GET", there)).status == 404
    nginx.stop()
    node.stop()


def test_conditions_and_headers_behind_nginx_are_those_of_the_node(tmp_path):
    """Two contents of one length within one second are two versions, and what could run is a download."""
    need("nginx")
    node = SfssNode(tmp_path / "node", "--names", "exact")
    nginx, port = nginx_before_a_node(tmp_path, node, "sfss-node.conf")
    etags = []
    for content in (b"1", b"2"):
        assert ask(port, request("PUT", "/a/new.html", content)).status in (201, 204)
        answer = ask(port, request("GET", "/a/new.html"))
        direct = ask(node.port, request("GET", "/a/new.html"))
        assert answer.body == content and answer.headers["content-disposition"].startswith("attachment")
        its_own = ("server", "date", "connection", "x-request-id", "keep-alive")
        left, right = ({k: v for k, v in a.headers.items() if k not in its_own} for a in (answer, direct))
        assert left == right
        etags.append(answer.headers["etag"])
    old, new = etags
    assert old != new
    assert ask(port, request("GET", "/a/new.html", headers={"If-None-Match": old})).status == 200
    assert ask(port, request("GET", "/a/new.html", headers={"If-None-Match": new})).status == 304
    assert ask(port, request("PUT", "/a/new.html", b"3", {"If-Match": old})).status == 412
    assert ask(port, request("PUT", "/a/new.html", b"3", {"If-Match": new})).status == 204
    ask(node.port, request("PUT", "/a", b"beside a folder"))
    assert ask(port, request("GET", "/a")).body == b"beside a folder"
    assert ask(port, request("DELETE", "/a/new.html")).status == 204
    assert ask(port, request("GET", "/a/new.html")).status == 404
    nginx.stop()
    node.stop()


def test_files_that_nginx_serves_as_they_lie(tmp_path):
    """It serves only what no browser runs, as the node does; and the node serves the rest."""
    need("nginx")
    text = (CONF / "nginx" / "sfss-node-files.conf").read_text()
    direct = re.search(r"location ~\* \\\.\(([^)]+)\)\$", text)[1].replace("jpe?g", "jpeg|jpg").split("|")
    assert len(direct) > 10
    node = SfssNode(tmp_path / "node")
    nginx, port = nginx_before_a_node(tmp_path, node, "sfss-node-files.conf")
    for extension in [*direct, "html", "svg", "txt", "xml", "js", "pdf", "bin"]:
        target = ask(port, request("PUT", f"/a/%C3%A9.{extension}", b"content")).headers["location"]
        of_node = ask(node.port, request("GET", target))
        answer = ask(port, request("GET", target))
        assert answer.status == of_node.status == 200 and answer.body == b"content"
        assert ("x-content-sha1" in answer.headers) == (extension not in direct), extension
        same = ["content-type", "content-security-policy", "x-content-type-options", "cache-control"]
        if extension in direct:
            assert of_node.headers["content-disposition"].startswith("inline"), extension
            assert "etag" not in answer.headers
        else:
            same += ["content-disposition", "etag"]
        for name in same:
            assert answer.headers[name] == of_node.headers[name], (extension, name)
    nginx.stop()
    node.stop()


# Units, images, and the runbook itself.


def test_units(tmp_path):
    need("systemd-analyze")
    for unit in (CONF / "systemd").iterdir():
        text = unit.read_text()
        # What they start is not installed here.
        text = re.sub(r"(ExecStart(?:Pre)?)=\S+", rf"\1={sys.executable}", text)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [find("systemd-analyze"), "verify", "--man=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "sfss" in line]
    assert ours == [], done.stderr


def test_what_is_named_is_there():
    named = set(re.findall(r"``((?:conf|docs|tests|sfss)/[\w./-]+)``", RUNBOOK))
    assert named and all((ROOT / name).exists() for name in named)
    compose = (ROOT / "compose.yaml").read_text()
    mounted = re.findall(r"- \./(\S+?):", compose) + re.findall(r'"\./(\S+?):', compose)
    assert mounted and all((ROOT / name).exists() for name in mounted)
    dockerfile = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())


def flags_of(parser: Parser) -> set[str]:
    """Those of its commands, too."""
    found = set(parser._option_string_actions)
    if parser.commands:
        found = found.union(*(flags_of(each) for each in parser.commands.choices.values()))
    return found


def test_the_flags_of_all_files_exist():
    settings = FIELDS | fields_of(NodeSettings)
    flags = {"--" + name.replace("_", "-") for name in settings} | flags_of(make_parser())
    texts = [RUNBOOK, (ROOT / "Dockerfile").read_text(), (ROOT / "README.rst").read_text()]
    known_elsewhere = {"--with-test-stores", "--bench", "--only", "--millions", "--path", "--filepath", "--concurrency",
                       "--size", "--requests", "--faults", "--folder", "--now", "--system", "--constraint", "--data-binary",
                       "--no-cache-dir", "--no-install-recommends", "--interval", "--timeout", "--start-period"}  # fmt: skip
    for text in texts:
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
        unknown = {flag for flag in used - flags - known_elsewhere if "--" + flag[5:] not in flags}
        assert unknown == set()
