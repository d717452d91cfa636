"""The log of changes on a disk that fails: what was acknowledged is read again, and no half record stands in the way."""

import errno
import os

import pytest

from sfss.replication.changes import Change
from sfss.replication.clock import Version
from sfss.replication.digests import digests_of
from sfss.replication.oplog import LogBroken, OpLog


def change(path: str, content: bytes = b"content") -> Change:
    return Change(path, Version(1 << 20, "a" * 16), len(content), digests_of(content), content)


def paths(folder) -> list[str]:
    log = OpLog(folder)
    found = [each.path for changes in log.replay() for each in changes]
    log.close()
    return found


def test_what_was_appended_is_read_again(tmp_path):
    log = OpLog(tmp_path)
    log.append([change("a"), change("b")])
    number = log.rotate()
    log.append([change("c")])
    assert log.size > 0
    log.close()
    assert paths(tmp_path) == ["a", "b", "c"]
    log = OpLog(tmp_path)
    log.discard(number)
    log.close()
    assert paths(tmp_path) == ["c"]


def test_a_write_in_pieces_is_whole(tmp_path, monkeypatch):
    real = os.writev

    def a_little(descriptor, views):
        return real(descriptor, [views[0][:7]])

    log = OpLog(tmp_path)
    monkeypatch.setattr(os, "writev", a_little)
    log.append([change("a", b"x" * 100), change("b")])
    monkeypatch.undo()
    log.append([change("c")])
    log.close()
    assert paths(tmp_path) == ["a", "b", "c"]


def test_half_a_record_is_taken_back(tmp_path, monkeypatch):
    real = os.writev
    calls = 0

    def fills(descriptor, views):
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(descriptor, [views[0][:20]])
        raise OSError(errno.ENOSPC, "full")

    log = OpLog(tmp_path)
    log.append([change("a")])
    monkeypatch.setattr(os, "writev", fills)
    with pytest.raises(OSError, match="full") as raised:
        log.append([change("b")])
    assert not isinstance(raised.value, LogBroken)
    monkeypatch.undo()
    log.append([change("c")])
    (segment,) = tmp_path.glob("changes-*.log")
    assert segment.stat().st_size == log.size  # no hole is left, either
    log.close()
    assert paths(tmp_path) == ["a", "c"]


def test_one_that_cannot_be_taken_back_breaks_the_log(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "no")

    log = OpLog(tmp_path)
    log.append([change("a")])
    monkeypatch.setattr(os, "writev", fails)
    monkeypatch.setattr(os, "ftruncate", fails)
    with pytest.raises(OSError, match="no"):
        log.append([change("b")])
    monkeypatch.undo()
    with pytest.raises(LogBroken):
        log.append([change("c")])
    log.close()
    assert paths(tmp_path) == ["a"]


def test_a_sync_that_fails_breaks_the_log(tmp_path, monkeypatch):
    """Nobody knows then what is on disk (https://wiki.postgresql.org/wiki/Fsync_Errors)."""

    def fails(descriptor):
        raise OSError(errno.EIO, "no")

    log = OpLog(tmp_path)
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(LogBroken):
        log.append([change("a")])
    monkeypatch.undo()
    with pytest.raises(LogBroken):
        log.append([change("b")])
    log.close()


def test_a_segment_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch):
    def fails(folder):
        raise OSError(errno.EIO, "no")

    log = OpLog(tmp_path)
    monkeypatch.setattr("sfss.replication.oplog.sync_folder", fails)
    with pytest.raises(OSError, match="no"):
        log.append([change("a")])
    assert not list(tmp_path.glob("changes-*"))
    monkeypatch.undo()
    log.append([change("b")])
    log.close()
    assert paths(tmp_path) == ["b"]


def test_damage_in_the_middle_costs_one_record_and_is_told(tmp_path, caplog):
    log = OpLog(tmp_path)
    for name in "abc":
        log.append([change(name, name.encode() * 500)])
    log.close()
    (segment,) = tmp_path.glob("changes-*.log")
    data = bytearray(segment.read_bytes())
    data[data.index(b"b" * 500) + 100] ^= 1  # a content is not what its digest says
    segment.write_bytes(data)
    assert paths(tmp_path) == ["a", "c"]
    assert "the log of changes is damaged: what was there is lost" in caplog.messages
    segment.write_bytes(data[:-10])  # and the last one is cut off
    assert paths(tmp_path) == ["a"]


def test_a_segment_that_was_removed_is_noticed(tmp_path):
    log = OpLog(tmp_path)
    log.append([change("a")])
    log.check()
    (segment,) = tmp_path.glob("changes-*.log")
    segment.unlink()
    with pytest.raises(OSError) as raised:
        log.check()
    assert raised.value.errno == errno.ESTALE
    log.close()
