"""What a gobeansdb answers, and what it forgets (docs/stores.rst)."""

from typing import NamedTuple

from sfss.beansdb.hashing import key_hash, value_hash
from tests.simulated.network import Network, SimulatedConnection
from tests.simulated.world import EPOCH

_BRANCHES_FROM = 256
_BAD = b"SERVER_ERROR bad htree item\r\n"


class Entry(NamedTuple):
    key: bytes
    flags: int
    version: int
    value: bytes | None  #: None: the index shows it, and the data do not have it
    modified: int


class SimulatedNode:
    """Listens on *port*. What it has not flushed is gone when it is killed."""

    def __init__(self, network: Network, port: int):
        self.network = network
        self.world = network.world
        self.port = port
        self.up = self.stopped = False
        self.serves = True  # its own route gives it the bucket
        self.incarnation = 0
        self.skew = 0.0
        self.entries: dict[int, Entry] = {}  # by the key's hash
        self.conflicts: list[bytes] = []  # keys that got two values with one version
        self._journal: list[
            tuple[int, Entry | None]
        ] = []  # what was there before each change since the last flush
        self._waiting: list[tuple[SimulatedConnection, bytes]] = []  # while it is stopped
        self._snapshot: dict[int, Entry] = {}
        network.nodes[port] = self
        self.start()

    def wall(self) -> float:
        return EPOCH + self.world.now + self.skew

    # What is done to it.

    def start(self) -> None:
        if not self.up:
            self.up = True
            self.incarnation += 1
            self.started = self.world.now
            self._flush_again(self.incarnation)

    def _flush_again(self, incarnation: int) -> None:
        if self.up and self.incarnation == incarnation:
            if not self.stopped:
                self._journal.clear()
            delay = self.world.random.uniform(0.5, 2.0)
            self.world.at(self.world.now + delay, lambda: self._flush_again(incarnation))

    def kill(self) -> None:
        """kill -9: some of what was not flushed may have reached the files, the oldest first."""
        kept = self.world.random.randrange(len(self._journal) + 1) if self.world.random.random() < 0.3 else 0
        for hashed, before in reversed(self._journal[kept:]):
            if self.network.keeps_index:
                self.entries[hashed] = self.entries[hashed]._replace(value=None)
            elif before is None:
                self.entries.pop(hashed, None)
            else:
                self.entries[hashed] = before
        self._end()

    def terminate(self) -> None:
        """SIGTERM: all is flushed."""
        self._end()

    def _end(self) -> None:
        self._journal.clear()
        self._waiting.clear()
        self.up = self.stopped = False
        # Native tombstones are forgotten without a clean index.
        for hashed in [h for h, entry in self.entries.items() if entry.version < 0]:
            del self.entries[hashed]
        for process_connections in self._connections():
            process_connections.reset()

    def _connections(self) -> list[SimulatedConnection]:
        found = []
        for process in self.network.processes:
            found += [c for c in process.connections if c.node is self]
        return found

    def lose_disk(self) -> None:
        assert not self.up
        self.entries.clear()

    def take_snapshot(self) -> None:
        self._snapshot = dict(self.entries)

    def roll_back(self) -> None:
        """To the snapshot: a disk of some time ago."""
        assert not self.up
        self.entries = dict(self._snapshot)

    def forget_last(self, key: bytes) -> None:
        """It never got what it may have got of *key*."""
        self.entries.pop(key_hash(key), None)

    def stop(self) -> None:
        self.stopped = self.up

    def go_on(self) -> None:
        if self.up and self.stopped:
            self.stopped = False
            waiting, self._waiting = self._waiting, []
            for connection, data in waiting:
                self.receive(connection, data)

    # What it does.

    def receive(self, connection: SimulatedConnection, data: bytes) -> None:
        if not connection.alive:
            return
        if self.stopped:
            self._waiting.append((connection, data))
            return
        if (connection.process, self.port) in self.network.cuts:
            return
        connection.buffer += data
        while (end := connection.buffer.find(b"\r\n")) >= 0:
            line = connection.buffer[:end]
            parts = line.split()
            rest = end + 2
            value = b""
            if parts[0] == b"set":
                size = int(parts[4])
                if len(connection.buffer) < rest + size + 2:
                    return
                value = connection.buffer[rest : rest + size]
                rest += size + 2
            connection.buffer = connection.buffer[rest:]
            connection.reply(self._do(parts, value))

    def _do(self, parts: list[bytes], value: bytes) -> bytes:
        if parts[0] == b"stats":
            figures = {"pid": 1000 + self.incarnation, "time": int(self.wall())}
            figures["uptime"] = int(self.world.now - self.started)
            return (
                "".join(f"STAT {name} {value}\r\n" for name, value in figures.items()).encode() + b"END\r\n"
            )
        key = parts[1]
        if not self.serves:
            if parts[0] == b"set":
                return b"STORED\r\n"
            return _value(key, 0, b"") if key.startswith(b"@") and key[1:2] != b"@" else b"END\r\n"
        if parts[0] == b"set":
            self._set(key, int(parts[2]), int(parts[3]), value)
            return b"STORED\r\n"
        if parts[0] == b"delete":
            return self._delete(key)
        return self._get(key)

    def _get(self, key: bytes) -> bytes:
        if key.startswith(b"@@"):
            entry = self.entries.get(int(key[2:], 16))
            if entry is None:
                return b"END\r\n"
            if entry.value is None:
                return _BAD
            head = b"".join(
                number.to_bytes(4, "little", signed=number < 0)
                for number in (
                    0,
                    entry.modified,
                    entry.flags,
                    entry.version,
                    len(entry.key),
                    len(entry.value),
                )
            )
            return _value(key, 0, head + entry.key + entry.value)
        if key.startswith(b"@"):
            return _value(key, 0, self._list(key[1:]))
        if key.startswith(b"?"):
            entry = self.entries.get(key_hash(key[1:]))
            if entry is None:
                return b"END\r\n"
            if entry.value is None:
                return _BAD
            return _value(
                key, 0, b"%d 0 %d %d %d" % (entry.version, entry.flags, len(entry.value), entry.modified)
            )
        entry = self.entries.get(key_hash(key))
        if entry is None or entry.version < 0:
            return b"END\r\n"
        if entry.value is None:
            return _BAD
        return _value(key, entry.flags, entry.value)

    def _list(self, prefix: bytes) -> bytes:
        if len(prefix) == 16:
            hashed = int(prefix, 16)
            found = {hashed: self.entries[hashed]} if hashed in self.entries else {}
        else:
            shift = 64 - 4 * len(prefix)
            wanted = int(prefix, 16) if prefix else 0
            found = (
                {h: e for h, e in self.entries.items() if h >> shift == wanted} if prefix else self.entries
            )
            if len(found) >= _BRANCHES_FROM and len(prefix) < 3:
                return b"".join(b"%x/ 0 1\n" % digit for digit in range(16))
        return b"".join(b"%016x %d %d\n" % (h, _hash_of(e), e.version) for h, e in found.items())

    def _set(self, key: bytes, flags: int, version: int, value: bytes) -> None:
        hashed = key_hash(key)
        old = self.entries.get(hashed)
        age = abs(old.version) if old is not None else 0
        if version == 0:
            version = age + 1
        elif version <= age:
            if old is not None and old.version == version and (old.value != value or old.flags != flags):
                if not key.startswith(b"~sfss-"):
                    self.conflicts.append(key)
            return
        self._put(hashed, Entry(key, flags, version, value, int(self.wall())))

    def _delete(self, key: bytes) -> bytes:
        hashed = key_hash(key)
        old = self.entries.get(hashed)
        if old is None or old.version < 0:
            return b"NOT_FOUND\r\n"
        self._put(hashed, Entry(key, 0, -old.version - 1, b"", int(self.wall())))
        return b"DELETED\r\n"

    def _put(self, hashed: int, entry: Entry) -> None:
        self._journal.append((hashed, self.entries.get(hashed)))
        self.entries[hashed] = entry


def _hash_of(entry: Entry) -> int:
    return value_hash(entry.value or b"") if entry.version > 0 else 0


def _value(key: bytes, flags: int, content: bytes) -> bytes:
    return b"VALUE %b %d %d\r\n%b\r\nEND\r\n" % (key, flags, len(content), content)
