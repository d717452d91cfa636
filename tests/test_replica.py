"""One replica and a disk that fails: what is acknowledged stays, and one bad file stops no other."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from sfss.errors import AlreadyDeleted, SfssError, StoreRefused, StoreUnusable
from sfss.replication.changes import Change
from sfss.replication.clock import FINAL, Version, stamp_of
from sfss.replication.digests import digests_of
from sfss.replication.operations import Adopt, Delete, Heal, Learn, Outcome, Put
from sfss.replication.oplog import OpLog
from sfss.replication.replica import Replica
from sfss.replication.resolve import Rules

NOW = 1_750_000_000.0
OTHER = "f" * 16


class Home:
    """The folders of a replica that is opened again and again."""

    def __init__(self, folder: Path, immutable: bool = False):
        self.folder = folder
        self.immutable = immutable
        self.time = NOW
        self.replica: Replica | None = None
        self.open()

    def open(self) -> Replica:
        self.replica = Replica(
            self.folder / "storage",
            self.folder / "queue",
            peers=("http://other",),
            wall=lambda: self.time,
            now=lambda: int(self.time * 1_000_000),
            rules=Rules(immutable=self.immutable, max_file_size=1_000_000),
        )
        return self.replica

    def kill(self) -> Replica:
        """kill -9, and start again."""
        self.replica.close()
        return self.open()

    def cut_power(self, synced: Path) -> Replica:
        """Only the log, and what was *synced*, is left."""
        self.replica.close()
        for file in (self.folder / "queue").glob("catalog*"):
            file.unlink()
        shutil.rmtree(self.folder / "storage")
        shutil.copytree(synced, self.folder, dirs_exist_ok=True)
        return self.open()

    def sync(self) -> Path:
        self.replica.checkpoint()
        safe = self.folder.with_name("safe")
        shutil.rmtree(safe, ignore_errors=True)
        ignored = shutil.ignore_patterns("changes-*", "*-wal", "*-shm", "lock")
        shutil.copytree(self.folder, safe, ignore=ignored)
        return safe


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.replica.close()


def put(path: str, content: bytes, **options) -> Put:
    return Put(path, content, digests_of(content), **options)


def learn(path: str, content: bytes, stamp: int, node: str = OTHER) -> Learn:
    version = Version(stamp, node)
    return Learn(Change(path, version, len(content), digests_of(content), content), None)


def do(replica: Replica, *operations) -> list[Outcome]:
    outcomes = replica.apply(operations)
    for outcome in outcomes:
        if isinstance(outcome, SfssError):
            raise outcome
    return outcomes


def content(replica: Replica, path: str) -> bytes | None:
    """What a reader gets."""
    entry = replica.catalog.get(path)
    return None if entry is None or entry.is_delete else replica.contents.on_disk(entry)


def fails(error: Exception, times: int = 1):
    left = times

    def function(*_, **__):
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        return None

    return function


def test_folders_that_come_and_go_within_a_group(home):
    replica = home.replica
    do(replica, put("deep/d/x", b"0"), put("other/x", b"0"))
    descriptors = len(os.listdir("/proc/self/fd"))
    remove = [Delete("deep/d/x"), Delete("other/x")]
    do(replica, put("deep/d/y", b"1"), put("other/y", b"1"), *remove)
    do(replica, Delete("deep/d/y"), put("deep/z", b"2"), put("deep/d/y", b"3"), Delete("deep/z"))
    do(replica, Delete("deep/d/y"), Delete("other/y"), put("other/d/y", b"4"))
    assert sorted(replica.folder.walk()) == ["other/d/y"]
    assert not (home.folder / "storage/deep").exists()
    do(replica, *(put(f"many/{number}/x", b"5") for number in range(200)))
    assert len(list(replica.folder.walk())) == 201
    assert len(os.listdir("/proc/self/fd")) == descriptors


# The disk fails at a step.


@pytest.mark.parametrize("step", ["append", "place", "_change_queues", "_save_state"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), sqlite3.OperationalError("disk full")])
def test_a_step_that_fails_loses_nothing(home, monkeypatch, step, error):
    replica = home.replica
    do(replica, put("x", b"first"), put("y", b"other"))
    owner = {"append": replica._log, "place": replica.folder}.get(step, replica.catalog)
    real = getattr(owner, step)

    def failing(*arguments, **options):
        monkeypatch.setattr(owner, step, real)
        raise error

    monkeypatch.setattr(owner, step, failing)
    outcomes = replica.apply([put("x", b"second"), put("z", b"new")])
    assert all(isinstance(outcome, StoreRefused) for outcome in outcomes)
    if replica.broken:
        with pytest.raises(StoreRefused):  # the log knows more: it must not be cut
            replica.checkpoint()
        assert isinstance(replica.apply([put("y", b"too soon")])[0], StoreRefused)
    replica = home.kill()
    has_happened = content(replica, "x") == b"second"
    assert has_happened or content(replica, "x") == b"first"
    assert has_happened == (step != "append")
    assert content(replica, "z") == (b"new" if has_happened else None)
    assert content(replica, "y") == b"other"
    home.time += 5
    do(home.replica, put("y", b"goes on"))
    assert content(home.replica, "y") == b"goes on"
    assert not os.listdir(home.folder / "storage/.sfss/temporary")


def test_it_goes_on_without_a_restart(home, monkeypatch):
    replica = home.replica
    do(replica, put("x", b"first"))
    monkeypatch.setattr(replica.catalog, "step", fails(sqlite3.OperationalError("full")))
    assert isinstance(replica.apply([put("x", b"second")])[0], StoreRefused)
    monkeypatch.undo()
    assert replica.broken
    home.time += 5
    replica.mend()
    assert not replica.broken
    assert content(replica, "x") == b"second"  # it may have happened, and it has
    do(replica, put("x", b"third"))
    assert home.kill() and content(home.replica, "x") == b"third"


def test_who_finds_it_done_in_a_group_that_fails_is_not_told_so(home, monkeypatch):
    operation = put("x", b"1", immutable=True)
    monkeypatch.setattr(home.replica._log, "append", fails(OSError(errno.ENOSPC, "full")))
    outcomes = home.replica.apply([operation, operation])
    assert all(isinstance(outcome, SfssError) for outcome in outcomes)
    assert content(home.replica, "x") is None


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES, errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM])
def test_a_place_that_cannot_be_taken(home, monkeypatch, number):
    """A mount point, a folder of somebody else, a file system that does not like the name."""
    replica = home.replica
    do(replica, put("odd/x", b"before"), put("y", b"1"))
    real = replica.folder._rename

    def rename(temporary, parts):
        if parts[0] == "odd":
            raise OSError(number, "no")
        real(temporary, parts)

    monkeypatch.setattr(replica.folder, "_rename", rename)
    do(replica, put("odd/x", b"after"), put("y", b"2"))
    assert (content(replica, "odd/x"), content(replica, "y")) == (b"after", b"2")
    do(replica, Heal("odd/x", b"after"))
    monkeypatch.undo()
    replica = home.kill()
    assert content(replica, "odd/x") == b"after"
    do(replica, put("odd/x", b"again"))
    assert content(replica, "odd/x") == b"again"
    do(replica, Delete("odd/x"))
    assert replica.folder.read("odd/x") is None


def test_a_file_that_cannot_be_removed(home, monkeypatch):
    replica = home.replica
    do(replica, put("odd/x", b"1"), put("y", b"1"))
    monkeypatch.setattr(replica.folder, "remove", fails(PermissionError(errno.EACCES, "no"), 100))
    do(replica, Delete("odd/x"), put("y", b"2"))
    assert content(replica, "odd/x") is None
    assert content(replica, "y") == b"2"
    monkeypatch.undo()
    assert content(home.kill(), "y") == b"2"


def test_what_the_user_may_not_change_is_refused_before(home, monkeypatch):
    replica = home.replica
    do(replica, put("a/x", b"1"))
    monkeypatch.setattr(replica.folder, "may_change", lambda path: False)
    for operation in (put("a/x", b"2"), Delete("a/x")):
        with pytest.raises(StoreRefused, match="may not be changed"):
            do(replica, operation)
    assert content(replica, "a/x") == b"1" and not replica.broken


# The log.


def segments(home: Home) -> list[Path]:
    return sorted((home.folder / "queue").glob("changes-*"))


def test_a_record_that_is_damaged_hides_no_other(home, caplog):
    safe = home.sync()
    for number in range(10):
        do(home.replica, put(f"f/{number}", b"%d" % number * 100))
    (segment,) = segments(home)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    home.replica.close()
    segment.write_bytes(data)
    home.open()
    replica = home.cut_power(safe)
    there = [number for number in range(10) if content(replica, f"f/{number}") is not None]
    assert len(there) == 9
    assert "the log of changes is damaged" in caplog.text


def test_an_end_that_was_cut_off(home):
    safe = home.sync()
    for number in range(5):
        do(home.replica, put(f"f/{number}", b"%d" % number * 100))
    (segment,) = segments(home)
    data = segment.read_bytes()
    home.replica.close()
    segment.write_bytes(data[:-50])
    home.open()
    replica = home.cut_power(safe)
    assert [content(replica, f"f/{n}") is not None for n in range(5)] == [True] * 4 + [False]
    do(replica, put("f/9", b"goes on"))
    assert content(home.kill(), "f/9") == b"goes on"


def test_a_group_of_any_size_can_be_read_again(home):
    safe = home.sync()
    names = [f"{'x' * 240}/{'y' * 240}/{'z' * 240}/{n}" for n in range(12_000)]
    do(home.replica, *(Delete(name) for name in names), put("last", b"1"))
    replica = home.cut_power(safe)
    assert replica.catalog.counts.tombstones == 12_000
    assert content(replica, "last") == b"1"


def test_a_content_that_looks_like_a_record(home):
    safe = home.sync()
    (record,) = [b"".join([b"sfssmsg2", bytes(20), b"{}"])]
    do(home.replica, put("a", record * 10), put("b", b"2"))
    assert content(home.cut_power(safe), "b") == b"2"


def test_numbers_of_segments_never_go_back(tmp_path):
    log = OpLog(tmp_path)
    change = Change("a", Version(1, OTHER), 0, None)
    log.append([change])
    number = log.rotate()
    log.discard(number)
    log.close()
    again = OpLog(tmp_path, number)
    again.append([change])
    again.discard(number)
    assert [len(changes) for changes in again.replay()] == [1]
    again.close()
    other = OpLog(tmp_path)
    assert other.size > 0 and [len(changes) for changes in other.replay()] == [1]
    other.close()


def test_a_file_of_the_log_is_used_again(home):
    """What an older segment has left in it is not read again."""
    for number in range(20):
        do(home.replica, put(f"old/{number}", b"%d" % number * 1000))
    for number in range(20):
        do(home.replica, Delete(f"old/{number}"))
    safe = home.sync()
    assert [file.name for file in (home.folder / "queue").glob("spare*")] == ["spare.log"]
    assert home.replica.log_bytes == 0
    do(home.replica, put("new", b"1"))
    assert 0 < home.replica.log_bytes < 1000
    (segment,) = segments(home)
    assert segment.stat().st_size > 20_000
    replica = home.cut_power(safe)
    assert (content(replica, "new"), content(replica, "old/7")) == (b"1", None)
    assert replica.catalog.counts.files == 1
    replica.checkpoint()
    assert replica.log_bytes == 0


def test_a_record_of_an_older_segment_is_none(home):
    """An enemy's file is full of what was once a record of this very log."""
    do(home.replica, put("x", b"1"))
    (segment,) = segments(home)
    record = segment.read_bytes()
    safe = home.sync()
    do(home.replica, put("enemy", record * 3))
    do(home.replica, put("y", b"2"))
    (segment,) = segments(home)
    data = segment.read_bytes()
    home.replica.close()
    segment.write_bytes(data.replace(b'"enemy"', b'"eNemy"', 1))  # so what follows is searched
    home.open()
    do(home.replica, Delete("x"))
    replica = home.cut_power(safe)
    assert [content(replica, path) for path in ("enemy", "y", "x")] == [None, b"2", None]


def test_a_deleted_file_does_not_come_back_out_of_an_old_segment(home):
    do(home.replica, *(put(f"f/{number}", b"x" * 1000) for number in range(5)), put("secret", b"s"))
    home.replica.checkpoint()
    do(home.replica, Delete("secret"))
    home.replica.checkpoint()
    home.replica.catalog.keep_queues_of([], 0)
    home.time += 30 * 86400
    assert home.replica.forget(stamp_of(home.time), 10) == 1
    home.replica.checkpoint()
    home.kill()  # nothing in the log: its numbers begin anew
    do(home.replica, put("small", b"1"))
    replica = home.kill()
    assert content(replica, "small") == b"1"
    assert replica.catalog.get("secret") is None


def test_a_found_file_that_a_power_cut_has_taken(home):
    safe = home.sync()
    lay(home, "found", b"content of a found file")
    do(home.replica, Adopt("found"))
    replica = home.cut_power(safe)
    assert content(replica, "found") is None
    do(replica, Heal("found", b"content of a found file"))
    assert content(replica, "found") == b"content of a found file"
    assert content(home.kill(), "found") == b"content of a found file"


def test_a_checkpoint_that_began_before_a_failure_does_not_end(home, monkeypatch):
    replica = home.replica
    do(replica, put("x", b"1"))
    begun = replica.begin_checkpoint()
    do(replica, put("x", b"2"))
    monkeypatch.setattr(replica.catalog, "step", fails(sqlite3.OperationalError("full")))
    replica.apply([put("x", b"3")])
    monkeypatch.undo()
    replica.end_checkpoint(begun)
    assert len(segments(home)) == 2
    assert content(home.kill(), "x") == b"3"


def test_changes_during_a_checkpoint_stay_in_the_log(home):
    replica = home.replica
    do(replica, put("x", b"1"))
    begun = replica.begin_checkpoint()
    do(replica, put("y", b"2"))
    replica.end_checkpoint(begun)
    (left,) = segments(home)
    assert left.read_bytes()[-1:] == b"2"


# What is read again is what it was.


def test_the_same_content_twice_in_a_group(home, monkeypatch):
    replica = home.replica
    do(replica, put("x", b"old"))
    safe = home.sync()
    stamp = replica.catalog.get("x").version.stamp
    do(replica, learn("x", b"new", stamp + 100), learn("x", b"new", stamp + 200))
    replica = home.cut_power(safe)
    assert content(replica, "x") == b"new"
    assert replica.catalog.get("x").version.stamp == stamp + 200


def test_a_group_on_one_file_ends_with_its_last(home):
    outcomes = do(home.replica, put("x", b"1"), Delete("x"), put("x", b"2"), put("x", b"3"))
    assert [outcome.changed for outcome in outcomes] == [True] * 4
    for start in (lambda: home.replica, home.kill):
        assert content(start(), "x") == b"3"
        assert home.replica.catalog.counts == (1, 1, 0)
    tree = home.replica.catalog.tree.root()
    home.replica.catalog.count_again(range(65536))
    assert home.replica.catalog.tree.root() == tree


def test_the_clock_goes_on_where_it_was(home):
    do(home.replica, put("x", b"1"))
    do(home.replica, learn("y", b"2", stamp_of(NOW + 3600)))
    home.time -= 1000
    replica = home.kill()
    do(replica, put("y", b"3"))
    assert content(replica, "y") == b"3"
    assert replica.catalog.get("y").version.stamp > stamp_of(NOW + 3600)


# What others say is not believed.


def test_lies_about_a_size(home):
    do(home.replica, put("x", b"1"))
    good = learn("x", b"1", stamp_of(NOW) + 99).change
    for size in (0, 5, 2**40):
        with pytest.raises(StoreRefused, match="size"):
            do(home.replica, Learn(good._replace(size=size, content=None), None))
    with pytest.raises(StoreRefused, match="SHA-256"):
        do(home.replica, learn("z", b"1", 5)._replace(change=good._replace(path="z", content=b"2")))
    assert not home.replica.broken


def test_a_clock_that_is_years_ahead(home):
    with pytest.raises(StoreRefused, match="too far in the future"):
        do(home.replica, learn("x", b"1", stamp_of(NOW + 50 * 366 * 86400)))
    assert home.replica.clock.ahead(home.replica.clock.last) < 1
    do(home.replica, learn("x", b"1", stamp_of(NOW + 5 * 366 * 86400)))  # it works, for better or worse
    do(home.replica, put("x", b"2"))
    assert content(home.replica, "x") == b"2"
    do(home.replica, Delete("x"))
    home.replica.catalog.keep_queues_of([], 0)
    home.time += 10 * 86400
    assert home.replica.forget(stamp_of(home.time - 86400), 10) == 1


def test_a_clock_is_not_moved_by_what_is_refused(home):
    before = home.replica.clock.last
    change = learn("x", b"1", stamp_of(NOW + 86400)).change
    with pytest.raises(StoreRefused):
        do(home.replica, Learn(change._replace(content=b"2"), None))
    assert home.replica.clock.last == before


# Deletes.


def test_a_delete_on_a_tombstone_is_newer_than_what_is_under_way(home):
    do(home.replica, put("x", b"1"), Delete("x"))
    first = home.replica.catalog.get("x").version
    home.time += 10
    under_way = learn("x", b"2", stamp_of(home.time - 5))
    do(home.replica, Delete("x"))
    assert home.replica.catalog.get("x").version > first
    do(home.replica, under_way)
    assert content(home.replica, "x") is None


def test_a_final_delete_is_final_in_every_mode(home):
    do(home.replica, put("x", b"1", immutable=True), Delete("x", final=True))
    for immutable in (True, False):
        with pytest.raises(AlreadyDeleted):
            do(home.replica, put("x", b"1", immutable=immutable))
    assert home.replica.catalog.get("x").version.stamp >= FINAL


# Files that others have put there.


def lay(home: Home, path: str, data: bytes, age: float = 0.0) -> None:
    file = home.folder / "storage" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.utime(file, (home.time - age, home.time - age))


def test_a_file_that_was_found_while_it_was_copied(home):
    lay(home, "a/x", b"half")
    do(home.replica, Adopt("a/x"))
    lay(home, "a/x", b"half, and the rest")
    outcome = do(home.replica, Adopt("a/x"))[0]
    assert outcome.changed and content(home.replica, "a/x") == b"half, and the rest"
    assert home.replica.catalog.get("a/x").version.stamp > 0


def test_rot_of_a_found_file_is_rot(home):
    lay(home, "a/x", b"content", age=1000)
    do(home.replica, Adopt("a/x"))
    lay(home, "a/x", b"c0ntent", age=1000)
    assert not do(home.replica, Adopt("a/x"))[0].changed
    assert content(home.replica, "a/x") is None


@pytest.mark.parametrize("path", ["a\\b", "a\nb", "C:\\temp", "metrics", "_status", "_page/x"])
def test_names_that_no_file_of_a_node_has(home, path):
    lay(home, path, b"x")
    with pytest.raises(StoreRefused, match="cannot be the name"):
        do(home.replica, Adopt(path))
    assert home.replica.catalog.counts.files == 0


def test_a_found_file_is_older_than_all_that_was_put(home):
    do(home.replica, put("x", b"put"))
    lay(home, "x", b"by hand")
    assert not do(home.replica, Adopt("x"))[0].changed
    lay(home, "y", b"found")
    do(home.replica, Adopt("y"), learn("y", b"from a node", stamp_of(NOW - 10**6)))
    assert content(home.replica, "y") == b"from a node"


def test_an_empty_folder_that_should_have_files(home):
    do(home.replica, put("x", b"1"))
    home.replica.checkpoint()
    home.replica.close()
    shutil.rmtree(home.folder / "storage")
    with pytest.raises(StoreUnusable, match="mounted"):
        home.open()
    shutil.rmtree(home.folder / "queue")
    home.open()


# Readers of the catalog, in other threads.


def test_a_reader_keeps_what_it_has_read_until_that_changes(home):
    replica = home.replica
    reader = replica.catalog.reader()
    assert reader.get("x") is None
    do(replica, put("x", b"first"), put("y", b"other"))
    first = reader.get("x")
    assert first == replica.catalog.get("x") and reader.get("x") is first
    do(replica, put("x", b"second"), Delete("y"))
    assert reader.get("x") == replica.catalog.get("x") != first
    assert reader.get("y").is_delete
    replica.catalog.told("http://other", [("y", reader.get("y").version)])
    home.time += 10
    assert replica.forget(stamp_of(home.time), 10) == 1
    assert reader.get("y") is None
    reader.close()


def test_what_changes_while_it_is_read_is_not_kept(home):
    replica = home.replica
    do(replica, put("x", b"first"))
    reader = replica.catalog.reader()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 8:  # the transaction has begun: it sees what was
            do(replica, put("x", b"second"))

    reader._database.set_progress_handler(step, 1)
    read = reader.get("x")
    reader._database.set_progress_handler(None, 0)
    assert steps >= 8
    assert read.digests == digests_of(b"first")
    assert reader.get("x").digests == digests_of(b"second")
    reader.close()


def test_a_reader_keeps_no_more_than_it_may(home, monkeypatch):
    monkeypatch.setattr("sfss.replication.entries._MOST_KEPT", 8)
    replica = home.replica
    do(replica, *(put(f"f/{n}", b"%d" % n) for n in range(30)))
    reader = replica.catalog.reader()
    for _ in range(2):
        for n in range(30):
            assert reader.get(f"f/{n}").digests == digests_of(b"%d" % n)
            assert len(reader._young) + len(reader._old) <= 8
    reader.close()
