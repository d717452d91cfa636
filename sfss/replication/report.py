"""What a node says of itself: to people, to scripts, and to Prometheus."""

import time
from collections.abc import Mapping
from typing import Any

from sfss.metrics.families import Family, counter, gauge, seconds, sizes
from sfss.replication.engine import Engine
from sfss.replication.entries import CatalogReader
from sfss.replication.peer import Peer
from sfss.replication.replica import Replica


def is_writable(replica: Replica) -> bool:
    return replica.broken is None and not replica.full


def status(replica: Replica, reader: CatalogReader, peers: Mapping[str, Peer]) -> dict[str, Any]:
    """What ``/_status`` tells: the queues by neighbour, and more of the same."""
    catalog = replica.catalog
    now = time.time()
    return {
        "queues": {url: {"length": reader.queue_length(url)} for url in peers},
        "node": replica.node,
        "files": catalog.counts.files,
        "bytes": catalog.counts.bytes,
        "root": f"{catalog.tree.root():016x}",
        "tombstones": catalog.counts.tombstones,
        "damaged": len(replica.contents.damaged),
        "writable": is_writable(replica),
        "neighbours": {
            peer.url: {
                "up": bool(peer.up),
                "is_this_node": peer.is_this_node,
                "node": peer.node,
                "caught_up": peer.caught_up,
                "tells": sorted(peer.tells),
                "catching_up": peer.catching_up,
                "last_answer_age": None if peer.last_answer is None else round(now - peer.last_answer, 1),
                "last_failure": peer.last_failure,
            }
            for peer in peers.values()
        },
    }


def families(replica: Replica, engine: Engine) -> list[Family]:
    """Of what is on disk, and how it gets there."""
    counts = replica.catalog.counts
    found = []
    for name, help, value in (
        ("sfss_node_files", "Files", counts.files),
        ("sfss_node_bytes", "Bytes of all files", counts.bytes),
        ("sfss_node_tombstones", "Deletes that are remembered", counts.tombstones),
        ("sfss_node_damaged_files", "Files found damaged or missing", len(replica.contents.damaged)),
        ("sfss_node_log_bytes", "Bytes that a start would read again", replica.log_bytes),
        ("sfss_store_writable", "0 if the disk is full or fails", int(is_writable(replica))),
    ):
        family = gauge(name, help)
        family.add((), value)
        found.append(family)
    group_sizes = sizes("sfss_store_flush_writes", "Changes that share an fsync")
    group_sizes.add((), engine.group_sizes)
    group_times = seconds("sfss_store_flush_duration_seconds", "Time of such a group")
    group_times.add((), engine.group_times)
    return [*found, group_sizes, group_times]


def operations(counts: Mapping[str, int]) -> Family:
    family = counter("sfss_node_operations_total", "What the node has done", "operation")
    for name, number in counts.items():
        family.add((name,), number)
    return family


def families_of_peers(reader: CatalogReader, peers: Mapping[str, Peer]) -> list[Family]:
    up = gauge("sfss_neighbour_up", "1 if the neighbour answers", "neighbour", join="max")
    length = gauge("sfss_neighbour_queue_length", "Changes it has yet to be told", "neighbour")
    age = gauge("sfss_neighbour_queue_age_seconds", "How long the first of them waits", "neighbour")
    caught_up = gauge("sfss_neighbour_caught_up", "1 if all was compared since the start", "neighbour")
    catching_up = gauge(
        "sfss_neighbour_catching_up_files", "Files fetched by the comparison under way", "neighbour"
    )
    events = counter("sfss_neighbour_events_total", "What was done with the neighbour", "neighbour", "event")
    traffic = counter("sfss_neighbour_bytes_total", "Bytes of messages and answers", "neighbour", "direction")
    now = time.time()
    for url, peer in peers.items():
        label = (url,)
        due = reader.oldest_due(url)
        up.add(label, int(bool(peer.up)))
        length.add(label, reader.queue_length(url))
        age.add(label, 0.0 if due is None else max(now - due / 1_000_000, 0.0))
        caught_up.add(label, int(peer.caught_up))
        if peer.catching_up is not None and peer.catching_up["fetched_files"]:
            catching_up.add(label, peer.catching_up["fetched_files"])
        for name, number in peer.counts.items():
            events.add((url, name), number)
        for name, number in peer.bytes.items():
            traffic.add((url, name), number)
    return [up, length, age, caught_up, catching_up, events, traffic]
