"""The delivery queue over real databases and real media servers."""

import hashlib
import logging
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta

import django
import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sfss.django import queue as queue_module
from sfss.django.models import Delivery, StoredFile
from sfss.django.queue import NameTaken
from sfss.django.replicated import DistributionError, ReplicatedStorage
from sfss.django.senders import deliver, senders
from sfss.django.transport import DOWN, MediaTransport
from tests.django.databases import Router
from tests.django.late import LateServer


def storage_over(hosts, **options):
    return ReplicatedStorage(
        hosts=list(hosts), base_url="http://media.example/m/", **{"timeout": 2.0, **options}
    )


@pytest.fixture
def storage(servers, each_database):
    return storage_over(servers.hosts)


def on(host: str, name: str) -> bytes | None:
    """What a server has."""
    try:
        with urllib.request.urlopen(f"http://{host}/m/{name}", timeout=5) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return None


def everywhere(servers, name: str) -> set:
    return {on(host, name) for host in servers.hosts}


def due_now() -> None:
    """The pauses are over."""
    DOWN.forget()
    Delivery.objects.all().update(next_try=timezone.now())


def queries(captured) -> list[str]:
    control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [query["sql"] for query in captured.captured_queries if not query["sql"].startswith(control)]


def test_a_save_and_a_delete_reach_every_server(storage, servers):
    name = storage.save("a/ü.txt", ContentFile(b"x"))
    assert everywhere(servers, "a/%C3%BC.txt") == {b"x"}
    assert storage.exists(name) and storage.size(name) == 1 and storage.open(name).read() == b"x"
    assert storage.url(name) == "http://media.example/m/a/%C3%BC.txt"
    assert not Delivery.objects.filter(is_dirty=True).exists()
    storage.delete(name)
    assert everywhere(servers, "a/%C3%BC.txt") == {None}
    assert StoredFile.objects.get().is_deleted
    with pytest.raises(FileNotFoundError):
        storage.open(name)
    assert not storage.exists(name)
    assert storage.save("a/ü.txt", ContentFile(b"y")) == name  # every server has deleted it: the name is free
    assert everywhere(servers, "a/%C3%BC.txt") == {b"y"}


def test_names_differ_by_every_letter(storage, servers, each_database):
    """Some databases take A for a."""
    names = [f"{each_database}/{name}" for name in ("case", "CASE", "cäse", "case ")]
    assert [storage.save(name, ContentFile(name.encode())) for name in names] == names
    for name in names:
        assert storage.open(name).read() == name.encode()
    long = "ü" * 250 + "/" + "x" * 500
    assert storage.save(long, ContentFile(b"x")) == long


def test_a_save_takes_four_queries_and_none_without_a_queue(storage, servers):
    with CaptureQueriesContext(connections[Router.alias]) as captured:
        storage.save("q", ContentFile(b"1"))
    assert len(queries(captured)) == 4, queries(captured)
    with CaptureQueriesContext(connections[Router.alias]) as captured, storage.open("q", "wb") as file:
        file.write(b"2")
    assert len(queries(captured)) == 4, queries(captured)
    assert everywhere(servers, "q") == {b"2"}
    without = storage_over(servers.hosts, queue="")
    with CaptureQueriesContext(connections[Router.alias]) as captured:
        without.save("q2", ContentFile(b"3"))
    assert queries(captured) == []
    assert everywhere(servers, "q2") == {b"3"}


def test_a_server_that_was_away_gets_what_it_missed(storage, servers, caplog):
    kept = storage.save("kept", ContentFile(b"kept"))
    servers.kill(1)
    for number in range(3):
        storage.save(f"f{number}", ContentFile(b"%d" % number))
    storage.delete(kept)
    with storage.open("f0", "wb") as file:
        file.write(b"newer")
    assert "a media server has failed" in caplog.text
    assert storage.sender.send_all().delivered == 0  # it is not back
    assert Delivery.objects.filter(is_dirty=True).count() == 4
    servers.start(1)
    due_now()
    assert storage.sender.send_all() == (4, 0)
    assert [everywhere(servers, name) for name in ("f0", "f1", "f2", "kept")] == [
        {b"newer"},
        {b"1"},
        {b"2"},
        {None},
    ]
    assert not Delivery.objects.filter(is_dirty=True).exists()


def test_a_file_is_missing_if_a_quorum_says_so(storage, servers, each_database):
    name = f"x-{each_database}"
    servers.kill(2)
    assert not storage.exists(name)
    with pytest.raises(FileNotFoundError):
        storage.open(name)
    servers.kill(1)
    for ask in (storage.exists, storage.open, storage.size):
        with pytest.raises(OSError, match="answer") as caught:
            ask(name)
        assert not isinstance(caught.value, FileNotFoundError)


def test_below_the_quorum_nothing_is_left(storage, servers):
    servers.kill(1)
    servers.kill(2)
    with pytest.raises(DistributionError, match="1 of 3 media servers have taken few") as caught:
        storage.save("few", ContentFile(b"x"))
    assert set(caught.value.failures) == set(servers.hosts[1:])
    assert on(servers.hosts[0], "few") is None
    assert StoredFile.objects.get(name="few").is_deleted
    servers.start(1)
    servers.start(2)
    due_now()
    storage.sender.send_all()
    assert everywhere(servers, "few") == {None}


@pytest.mark.parametrize(
    "options, raises",
    [
        ({"write_quorum": "all"}, True),
        ({"write_quorum": 3}, True),
        ({"write_quorum": 2, "on_partial": "raise"}, True),
        ({"write_quorum": "majority", "on_partial": "log"}, False),
        ({"write_quorum": 1}, False),
    ],
)
def test_what_is_enough_is_the_sites_to_say(servers, database, options, raises):
    storage = storage_over(servers.hosts, **options)
    servers.kill(2)
    if raises:
        with pytest.raises(DistributionError):
            storage.save("e", ContentFile(b"x"))
    else:
        storage.save("e", ContentFile(b"x"))
    is_kept = not raises or options.get("on_partial") == "raise"
    assert on(servers.hosts[0], "e") == (b"x" if is_kept else None)
    servers.start(2)
    due_now()
    storage.sender.send_all()
    assert everywhere(servers, "e") == {b"x" if is_kept else None}


def test_an_answer_that_does_not_come_is_waited_out_and_then_looked_at(each_database):
    """A late write must not come over a newer one."""
    late, good = LateServer(), LateServer()
    storage = storage_over([good.host, late.host], timeout=1.0, quarantine=5.0, write_quorum=1)
    try:
        late.is_late = True
        storage.save("l", ContentFile(b"old"))
        row = Delivery.objects.get(host=late.host)
        assert row.is_dirty and row.must_verify and row.next_try > timezone.now() + timedelta(seconds=4)
        DOWN.forget()
        storage.delete("l")  # it is not sent there: the old one may still arrive
        assert not any("DELETE" in line for line in late.log)
        late.may_go_on.set()
        while "/m/l" not in late.files:
            time.sleep(0.01)
        late.is_late = False
        assert storage.sender.send_all() == (0, 0)  # it rests
        due_now()
        assert storage.sender.send_all() == (1, 0)
        assert "/m/l" not in late.files
        assert late.log[-2:] == ["HEAD /m/l 200", "DELETE /m/l 204"]
        # And where the late write was the right one, nothing is sent again.
        late.is_late = True
        late.may_go_on.clear()
        storage.save("m", ContentFile(b"new"))
        late.may_go_on.set()
        while "/m/m" not in late.files:
            time.sleep(0.01)
        due_now()
        sent = len([line for line in late.log if line.startswith("PUT")])
        assert storage.sender.send_all() == (1, 0)
        assert len([line for line in late.log if line.startswith("PUT")]) == sent
    finally:
        late.may_go_on.set()
        late.stop()
        good.stop()


def test_two_senders_never_send_the_same_pair(each_database):
    server = LateServer()
    storage = storage_over([server.host], write_quorum=0)
    try:
        server.override_code = 500
        for number in range(60):
            storage.save(f"s{number}", ContentFile(b"x"))
        server.override_code = None
        server.log.clear()
        # The content is had from nowhere else: from this site's own copy.
        sources = {f"s{number}": b"x" for number in range(60)}
        due_now()
        sent = []

        def send():
            sender = storage.sender
            sender._local = sources.__getitem__
            sent.append(sender.send_all())
            connections[Router.alias].close()

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        puts = [line for line in server.log if line.startswith("PUT")]
        assert len(puts) == len(set(puts)) == 60
        assert sum(each.delivered for each in sent) == 60
    finally:
        server.stop()


def test_who_is_killed_after_any_step_leaves_what_can_be_finished(
    storage, servers, monkeypatch, each_database
):
    """Nothing was sent, or only to some: the queue knows."""
    monkeypatch.setattr(queue_module.Queue, "_lease_time", lambda self: timedelta(seconds=2.0))
    sender, name = storage.sender, f"k1-{each_database}"
    content = b"of a process that is killed"
    options = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    ticket = sender.queue.change(name, **options)  # killed before anything was sent
    assert sender.send_all() == (0, 0)  # its lease holds
    with pytest.raises(NameTaken):
        sender.queue.change(name, overwrite=False, **options)
    time.sleep(2.2)
    assert sender.send_all() == (0, 3)  # nobody has the content
    sender.transport.create(servers.hosts[0], storage.url_path(name), content)  # or after one has it
    due_now()
    assert sender.send_all() == (3, 0)
    assert everywhere(servers, name) == {content}
    sender.queue.done(ticket, servers.hosts)  # whoever it was comes back: that has no effect
    # Killed between the file and its deliveries.
    StoredFile.objects.create(
        queue="default", name="k2", version=1, sha256=options["sha256"], size=len(content)
    )
    assert storage.save("k2", ContentFile(content)) != "k2"
    storage.delete("k2")
    assert everywhere(servers, "k2") == {None}


def test_what_somebody_else_is_sending_is_waited_for(storage, servers):
    sender = storage.sender
    other = sender.queue.change("w", sha256="", size=0)
    assert other.is_new
    done = []

    def finish():
        time.sleep(0.3)
        sender.send_now(other, b"other")
        done.append(True)
        connections[Router.alias].close()

    thread = threading.Thread(target=finish)
    thread.start()
    with storage.open("w", "wb") as file:
        file.write(b"mine")
    thread.join()
    assert everywhere(servers, "w") == {b"mine"}
    assert not Delivery.objects.filter(is_dirty=True).exists()


def test_a_save_leaves_nothing_leased(storage, servers, each_database):
    """A server that rests must not make others busy."""
    name = f"leased-{each_database}"
    for content in (b"1", b"2", b"3"):
        with storage.open(name, "wb") as file:
            file.write(content)
        Delivery.objects.filter(host=servers.hosts[2]).update(is_dirty=True, must_verify=True)
        assert not Delivery.objects.exclude(lease="").exists()
        assert not Delivery.objects.filter(is_dirty=True).exclude(host=servers.hosts[2]).exists()
    due_now()
    assert storage.sender.send_all() == (1, 0)
    assert everywhere(servers, name) == {b"3"}


def test_what_was_there_is_not_lost_when_too_few_take_what_is_new(servers, each_database, tmp_path):
    storage = storage_over(servers.hosts, local=True, location=str(tmp_path))
    name = storage.save(f"old-{each_database}", ContentFile(b"old"))
    servers.kill(1)
    servers.kill(2)
    with pytest.raises(DistributionError), storage.open(name, "wb") as file:
        file.write(b"new")
    with storage.open(name) as file:
        assert file.read() == b"new"
    with pytest.raises(DistributionError):
        storage.save("never", ContentFile(b"x"))
    assert not (tmp_path / "never").exists()
    servers.start(1)
    servers.start(2)
    due_now()
    storage.sender.send_all()
    assert everywhere(servers, name) == {b"new"} and everywhere(servers, "never") == {None}


def test_after_a_commit_nothing_is_taken_back(servers, each_database):
    storage = storage_over(servers.hosts, on_commit=True)
    servers.kill(1)
    servers.kill(2)
    with transaction.atomic(using=Router.alias):
        name = storage.save(f"committed-{each_database}", ContentFile(b"x"))
    servers.start(1)
    servers.start(2)
    due_now()
    storage.sender.send_all()
    assert everywhere(servers, name) == {b"x"}


def test_what_is_rolled_back_was_not_done_here_either(servers, each_database, tmp_path):
    storage = storage_over(servers.hosts, local=True, location=str(tmp_path), on_commit=True)
    name = storage.save(f"kept-{each_database}", ContentFile(b"kept"))
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=Router.alias):
        storage.delete(name)
        raise ZeroDivisionError
    with storage.open(name) as file:
        assert file.read() == b"kept"
    assert everywhere(servers, name) == {b"kept"}


def test_two_sites_with_copies_of_their_own_do_not_take_one_name(servers, each_database, tmp_path):
    first, second = (
        storage_over(servers.hosts, local=True, location=str(tmp_path / name)) for name in ("1", "2")
    )
    one = first.save(f"both-{each_database}", ContentFile(b"1"))
    two = second.save(f"both-{each_database}", ContentFile(b"2"))
    assert one != two and everywhere(servers, one) == {b"1"} and everywhere(servers, two) == {b"2"}
    assert second.open(one).read() == b"1" and second.size(one) == 1 and second.exists(one)


def test_a_long_outage_does_not_stop_the_queue(storage, servers, each_database):
    servers.kill(2)
    name = storage.save(f"week-{each_database}", ContentFile(b"x"))
    Delivery.objects.filter(is_dirty=True).update(failures=5000)
    due_now()
    assert storage.sender.send_all() == (0, 1)
    assert Delivery.objects.get(is_dirty=True).next_try < timezone.now() + timedelta(minutes=11)
    servers.start(2)
    due_now()
    assert storage.sender.send_all() == (1, 0)
    assert everywhere(servers, name) == {b"x"}


def test_who_is_slow_does_not_send_what_is_old(storage, servers, each_database, monkeypatch):
    """Between its look into the queue and its sending, somebody else had the lease, and there is something newer."""
    name = f"slow-{each_database}"
    storage.save(name, ContentFile(b"old"))
    storage.delete(name)
    Delivery.objects.update(is_dirty=True)
    sender = storage.sender
    work = list(sender.queue.due(50))
    assert len(work) == 3
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert storage.save(name, ContentFile(b"new")) != name
    with storage.open(name, "wb") as file:
        file.write(b"new")
    for ticket, row in work:
        assert not sender._send(ticket, row)
    assert everywhere(servers, name) == {b"new"}


def test_reads_ask_who_has_the_newest(storage, servers, each_database):
    name = f"newest-{each_database}"
    storage.save(name, ContentFile(b"old"))
    servers.kill(2)
    with storage.open(name, "wb") as file:
        file.write(b"new")
    servers.start(2)
    for _ in range(10):
        assert storage.open(name).read() == b"new"
    storage.delete(name)
    Delivery.objects.filter(host=servers.hosts[0]).update(is_dirty=True)
    storage.transport.create(servers.hosts[0], storage.url_path(name), b"still there")
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            storage.open(name)
        assert not storage.exists(name)
    assert not storage.is_name_available(name)


def test_one_file_has_one_name(storage, servers, each_database):
    name = f"n-{each_database}/x"
    assert storage.save(name, ContentFile(b"1")) == name
    assert storage.save(name.replace("/", "//"), ContentFile(b"2")) != name
    assert storage.save(name.replace("/", "/./"), ContentFile(b"3")) != name
    assert everywhere(servers, name) == {b"1"}


def test_a_proxy_that_gives_up_leaves_it_open_what_came_of_it(each_database):
    late = LateServer()
    storage = storage_over([late.host], write_quorum=0)
    try:
        late.override_code = 504
        storage.save("p", ContentFile(b"x"))
        assert Delivery.objects.get().must_verify
    finally:
        late.stop()


def test_a_large_file_may_take_longer_than_a_step(servers, database):
    storage = storage_over(servers.hosts[:1], timeout=2.0, write_quorum=1)
    content = bytes(range(256)) * 8000  # 2 MB, in pieces
    name = storage.save("large", ContentFile(content))
    assert storage.open(name).read() == content


def test_two_sites_that_save_one_name_at_once_get_two(storage, servers):
    saved: list[str] = []
    barrier = threading.Barrier(4)

    def save(number):
        barrier.wait()
        saved.append((storage.save("same.txt", ContentFile(b"%d" % number)), b"%d" % number))
        connections[Router.alias].close()

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dict(saved)) == 4
    for name, content in saved:
        assert everywhere(servers, name) == {content}


def test_a_wrong_source_is_not_believed(storage, servers, caplog):
    servers.kill(2)
    storage.save("src", ContentFile(b"right"))
    # One of the two that have it has it no more as it was.
    storage.transport.create(servers.hosts[0], storage.url_path("src"), b"wrong")
    servers.start(2)
    due_now()
    for _ in range(5):
        storage.sender.send_all()
        due_now()
    assert on(servers.hosts[2], "src") == b"right"


def test_inside_a_transaction(servers, each_database):
    storage = storage_over(servers.hosts)
    with transaction.atomic(using=Router.alias):
        name = storage.save("t", ContentFile(b"x"))
        assert everywhere(servers, "t") == {b"x"}  # at once
        with pytest.raises(IntegrityError), transaction.atomic(using=Router.alias):
            StoredFile.objects.create(queue="default", name=name, version=1)
        assert storage.save("t", ContentFile(b"y")) != "t"
    later = storage_over(servers.hosts, on_commit=True)
    with transaction.atomic(using=Router.alias):
        name = later.save(f"c-{each_database}", ContentFile(b"x"))
        assert everywhere(servers, name) == {None}
        assert later.exists(name)
    assert everywhere(servers, name) == {b"x"}
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=Router.alias):
        later.save("never", ContentFile(b"x"))
        raise ZeroDivisionError
    assert everywhere(servers, "never") == {None} and not later.exists("never")


def test_a_dead_server_is_waited_for_once(database):
    late, good = LateServer(), LateServer()
    late.is_late = True
    storage = storage_over([good.host, late.host], timeout=1.0, write_quorum=1)
    try:
        asked = []
        ask = storage.transport._get_url
        storage.transport._get_url = lambda host, url: asked.append(host) or ask(host, url)
        for number in range(5):
            storage.save(f"d{number}", ContentFile(b"x"))
        assert asked.count(late.host) == 1 and asked.count(good.host) == 5
        assert Delivery.objects.filter(host=late.host, is_dirty=True).count() == 5
    finally:
        late.may_go_on.set()
        late.stop()
        good.stop()


def test_tombstones_go_when_everybody_has_them(storage, servers):
    storage.save("g", ContentFile(b"x"))
    servers.kill(0)
    storage.delete("g")
    StoredFile.objects.all().update(changed=timezone.now() - timedelta(days=30))
    storage.sender.send_all()
    assert StoredFile.objects.count() == 1
    servers.start(0)
    due_now()
    storage.sender.send_all()
    assert StoredFile.objects.count() == 0 and Delivery.objects.count() == 0
    assert storage.save("g", ContentFile(b"y")) == "g"


def test_a_server_that_is_added_gets_what_is_changed(servers, each_database):
    two = storage_over(servers.hosts[:2])
    two.save("n", ContentFile(b"1"))
    three = storage_over(servers.hosts)
    with three.open("n", "wb") as file:
        file.write(b"2")
    three.sender.send_all()
    assert everywhere(servers, "n") == {b"2"}


def test_the_command(servers, database, capsys):
    options = {"hosts": servers.hosts, "base_url": "http://x/m/"}
    storages = {
        "default": {"BACKEND": "sfss.django.replicated.ReplicatedStorage", "OPTIONS": options},
        "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    with override_settings(STORAGES=storages):
        storage = storage_over(servers.hosts)
        servers.kill(1)
        storage.save("cmd", ContentFile(b"x"))
        call_command("process_failed_media")
        assert "0 delivered" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            call_command("sfss_health")
        said = capsys.readouterr().out
        assert "lacks 1 files" in said and "no answer" in said and said.count("answers") == 2
        servers.start(1)
        due_now()
        call_command("process_failed_media", "default")
        assert "default: 1 delivered, 0 failed" in capsys.readouterr().out
        call_command("sfss_health", "--json")
        assert deliver("default") == (0, 0)
        with pytest.raises(CommandError, match="no storage has the queue other"):
            call_command("process_failed_media", "other")
        assert list(senders()) == ["default"]
    assert everywhere(servers, "cmd") == {b"x"}
    with override_settings(STORAGES={**storages, "default": storages["staticfiles"]}):
        with pytest.raises(CommandError, match="no storage of this site has a queue"):
            call_command("process_failed_media")


def test_everything_is_compared_and_healed(servers, database, tmp_path, capsys, monkeypatch):
    options = {"hosts": servers.hosts, "base_url": "http://x/r/", "local": True, "location": str(tmp_path)}
    storages = {
        "default": {"BACKEND": "sfss.django.replicated.ReplicatedStorage", "OPTIONS": options},
        "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    storage = ReplicatedStorage(**options)
    for number in range(5):
        storage.save(f"r{number}", ContentFile(b"%d" % number * 5))
    storage.delete("r4")
    with override_settings(STORAGES=storages):
        asked = []
        with monkeypatch.context() as patch:
            ask = MediaTransport._http_request
            patch.setattr(
                MediaTransport, "_http_request", lambda *given: asked.append(given[1:]) or ask(*given)
            )
            call_command("sfss_reconcile")
        assert len(asked) == 3  # a request for each 1,000 files
        said = capsys.readouterr().out
        assert said.count("5 as it should be") == 3 and "here: 4 as it should be" in said
        # Somebody has been at the servers.
        transport = storage.transport
        transport.delete(servers.hosts[0], "/r/r0")
        transport.create(servers.hosts[1], "/r/r1", b"of another size")
        transport.create(servers.hosts[2], "/r/r2", b"other")  # in the same size
        transport.create(servers.hosts[2], "/r/of/others", b"x")
        transport.create(servers.hosts[2], "/r/r4", b"back")
        Delivery.objects.filter(host=servers.hosts[1], file__name="r3").delete()
        with pytest.raises(SystemExit):
            call_command("sfss_reconcile", "--dry-run")
        assert transport.exists(servers.hosts[2], "/r/r4")
        capsys.readouterr()
        call_command("sfss_reconcile")
        said = capsys.readouterr().out
        assert (
            said.count(" 1 lacking") == 2 and " 2 lacking" in said and "default: 4 healed, 0 failed" in said
        )
        assert "here: 4 as it should be" in said
        assert f"{servers.hosts[2]}: 1 files that the database does not know" in said
        call_command("sfss_reconcile", "--verify")
        assert said.count("healed") == 1 and capsys.readouterr().out.count("5 as it should be") == 3
        for host in servers.hosts:
            for number in range(4):
                assert transport.content(host, f"/r/r{number}") == b"%d" % number * 5
            assert not transport.exists(host, "/r/r4")
        (tmp_path / "r0").unlink()
        servers.kill(1)
        with pytest.raises(SystemExit):
            call_command("sfss_reconcile")
        said = capsys.readouterr().out
        assert "here: 3 as it should be, 1 lacking" in said and "5 unreachable" in said
        with pytest.raises(CommandError, match="no storage has the queue"):
            call_command("sfss_reconcile", "other")


def test_a_server_that_answers_with_errors_is_tried_again(database, caplog):
    caplog.set_level(logging.WARNING)
    broken, good = LateServer(), LateServer()
    storage = storage_over([good.host, broken.host], write_quorum=1)
    try:
        broken.override_code = 500
        storage.save("b", ContentFile(b"x"))
        row = Delivery.objects.get(host=broken.host)
        assert row.is_dirty and not row.must_verify and "500" in row.last_error and row.failures == 1
        due_now()
        assert storage.sender.send_all() == (0, 1)
        assert "a media server still lacks a file" in caplog.text
        broken.override_code = None
        due_now()
        assert storage.sender.send_all() == (1, 0)
        assert broken.files["/m/b"] == b"x"
    finally:
        broken.stop()
        good.stop()


if django.VERSION >= (6, 0):

    def test_djangos_own_tasks_deliver(servers, database):
        from django.tasks import task

        storage = storage_over(servers.hosts)
        storages = {
            "default": {"BACKEND": "sfss.django.replicated.ReplicatedStorage", "OPTIONS": storage._given},
            "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        }
        servers.kill(1)
        name = storage.save("by/task", ContentFile(b"x"))
        servers.start(1)
        due_now()
        backend = {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
        with override_settings(STORAGES=storages, TASKS={"default": backend}):
            result = task(deliver).enqueue()
        assert result.status == "SUCCESSFUL" and list(result.return_value) == [1, 0]
        assert storage.transport.exists(servers.hosts[1], storage.url_path(name))
