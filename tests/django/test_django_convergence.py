"""Whatever happens, servers end with the state of the database: the real queue, and servers that misbehave."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfss.django import queue as queue_module
from sfss.django import sender as sender_module
from sfss.django.http import NoAnswer
from sfss.django.models import Delivery, StoredFile
from sfss.django.replicated import DistributionError, ReplicatedStorage
from sfss.django.transport import MediaTransport

HOSTS = ["h0", "h1", "h2"]
NAMES = ["a", "b"]
QUARANTINE = 30.0


class Killed(BaseException):
    """The process has ended here."""


class Servers(MediaTransport):
    """In memory. What happens to the next requests that change something is told in advance."""

    def __init__(self):
        super().__init__()
        self.files = {host: {} for host in HOSTS}
        self.fates: list[str] = []
        self.late: list[tuple[float, object]] = []  # when it arrives, and what it does
        self.now = 0.0

    def _change(self, host, change):
        fate = self.fates.pop(0) if self.fates else "well"
        if fate == "refused":
            raise OSError("500")
        if fate == "away":
            raise NoAnswer("no connection", is_ambiguous=False)
        if fate == "killed before":
            raise Killed
        if fate == "late":
            self.late.append((self.now + QUARANTINE * 0.9, change))
        else:
            change()
        if fate == "killed after":
            raise Killed
        if fate in ("late", "no answer"):
            raise NoAnswer("no answer in time", is_ambiguous=True)

    def create(self, host, url, content):
        self._change(host, lambda: self.files[host].__setitem__(url, content))

    def delete(self, host, url):
        self._change(host, lambda: self.files[host].pop(url, None))

    def exists(self, host, url):
        return url in self.files[host]

    def content(self, host, url):
        if url not in self.files[host]:
            raise FileNotFoundError(url)
        return self.files[host][url]

    def size(self, host, url):
        return len(self.content(host, url))

    def arrive(self):
        due = [change for when, change in self.late if when <= self.now]
        self.late = [(when, change) for when, change in self.late if when > self.now]
        for change in due:
            change()


FATES = st.sampled_from(
    ["well"] * 6 + ["refused", "away", "late", "late", "no answer", "killed before", "killed after"]
)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["put", "put", "delete"]), st.sampled_from(NAMES), st.lists(FATES, max_size=4)),
    st.tuples(st.just("send"), st.just(""), st.lists(FATES, max_size=4)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 40, 200]), st.just([])),
)


def one_after_the_other(hosts, run):
    """In this thread: a process that is killed here sends nothing to the others."""
    results = {}
    for host in hosts:
        try:
            results[host] = run(host)
        except Exception as error:
            results[host] = error
    return results


@pytest.fixture
def clock(monkeypatch):
    """The queue's, which is as it is told."""
    clock = type("Clock", (), {"seconds": 0.0, "begin": timezone.now()})()

    def now():
        return clock.begin + timedelta(seconds=clock.seconds)

    monkeypatch.setattr(queue_module.timezone, "now", now)
    monkeypatch.setattr(queue_module, "_now_us", lambda: int(now().timestamp() * 1e6))
    monkeypatch.setattr(queue_module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sender_module, "on_each", one_after_the_other)
    monkeypatch.setattr(queue_module.Queue, "wait_for", lambda self, ticket, hosts, seconds: ([], []))
    return clock


@given(steps=st.lists(STEPS, min_size=3, max_size=25))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_servers_end_with_the_state_of_the_database(database, clock, steps):
    StoredFile.objects.all().delete()
    servers = Servers()
    clock.seconds = 0.0
    # One after the other: fates are given in that order.
    storage = ReplicatedStorage(hosts=HOSTS, base_url="/m/", write_quorum=1, quarantine=QUARANTINE)
    storage.transport = servers
    own: dict[str, bytes] = {}  # the site's own copy, so that a source is never what is missing
    acknowledged: dict[str, bytes | None] = {}

    def sender():
        made = storage.sender
        made._local = own.__getitem__
        return made

    for number, (kind, what, fates) in enumerate(steps):
        servers.fates = list(fates)
        try:
            if kind == "wait":
                clock.seconds += what
                servers.now = clock.seconds
                servers.arrive()
            elif kind == "send":
                sender().send_all()
            elif kind == "put":
                own[what] = b"%d" % number
                acknowledged.pop(what, None)
                with storage.open(what, "wb") as file:
                    file.write(own[what])
                acknowledged[what] = own[what]
            else:
                acknowledged.pop(what, None)
                storage.delete(what)
                acknowledged[what] = None
        except (Killed, DistributionError, OSError):
            pass  # it is known to nobody what has come of it
    servers.fates = []
    for _ in range(12):
        clock.seconds += 700
        servers.now = clock.seconds
        servers.arrive()
        sender().send_all()
    assert not Delivery.objects.filter(is_dirty=True).exists()
    for name in NAMES:
        file = StoredFile.objects.filter(name=name).first()
        expected = None if file is None or file.is_deleted else own[name]
        assert {servers.files[host].get(f"/m/{name}") for host in HOSTS} == {expected}
        if name in acknowledged:
            assert expected == acknowledged[name]


def test_it_can_fail(database, clock, monkeypatch):
    """Without the quarantine, a late write undoes a delete."""
    monkeypatch.setattr(queue_module.Queue, "failed", lambda self, ticket, host, error: self.leave(ticket))
    servers = Servers()
    storage = ReplicatedStorage(hosts=HOSTS[:1], base_url="/m/", write_quorum=0, quarantine=QUARANTINE)
    storage.transport = servers
    servers.fates = ["late"]
    storage.save("a", ContentFile(b"x"))
    storage.delete("a")
    storage.sender.send_all()
    servers.now += 100
    servers.arrive()
    assert servers.files["h0"] == {"/m/a": b"x"}
