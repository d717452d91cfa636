"""The metrics of a cluster, as one process sees it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sfss.memcache import endpoint_stats
from sfss.metrics.families import Family, counter, gauge

if TYPE_CHECKING:
    from sfss.beansdb.cluster import Cluster


def families_of(cluster: "Cluster") -> Iterable[Family]:
    nodes = ((node.name, node.endpoint_stats, node.up, len(node.connections)) for node in cluster.nodes)
    trusted = gauge(
        "sfss_beansdb_node_trusted", "1 if any worker trusts it for all its buckets", "node", join="max"
    )
    behind = gauge("sfss_beansdb_node_behind", "Keys whose last write it is known to have missed", "node")
    fenced = counter(
        "sfss_beansdb_node_fenced_seconds_total", "Time in which it was up and not trusted", "node"
    )
    for node in cluster.nodes:
        trusted.add((node.name,), int(cluster.is_trusted(node)))
        behind.add((node.name,), sum(len(missed) for missed in node.missed))
        fenced.add((node.name,), node.fenced_seconds)
    repair = gauge(
        "sfss_beansdb_node_repair_ratio", "How far its repair is that is under way", "node", join="max"
    )
    for maintenance in cluster.maintenance:
        if maintenance.repair is not None:
            for node in maintenance.repair.wanted:
                repair.add((node.name,), maintenance.repair.share)
    settled = counter("sfss_beansdb_settled_total", "Reads for which all nodes were asked")
    settled.add((), cluster.counts.settled)
    written = counter(
        "sfss_beansdb_write_backs_total", "Values that reads have written to nodes that lacked them"
    )
    written.add((), cluster.counts.written_back)
    raised = counter(
        "sfss_beansdb_versions_raised_total", "Writes whose version had to be ahead of the clock"
    )
    raised.add((), sum(part.units.raised for part in cluster.parts))
    claims = counter("sfss_beansdb_writer_ids_total", "Writer ids that were taken")
    claims.add((), sum(register.claims for register in cluster.registers))
    every = cluster.maintenance
    repairs = counter(
        "sfss_beansdb_repairs_total", "Times that a bucket of a node was compared, and trusted again"
    )
    repairs.add((), sum(maintenance.repairs for maintenance in every))
    keys = counter("sfss_beansdb_copied_keys_total", "Keys copied to nodes that lacked their newest version")
    keys.add((), sum(maintenance.copied.keys for maintenance in every))
    size = counter("sfss_beansdb_copied_bytes_total", "Bytes copied so")
    size.add((), sum(maintenance.copied.bytes for maintenance in every))
    damaged = counter("sfss_beansdb_unreadable_total", "Keys whose newest version no node could give")
    damaged.add((), sum(maintenance.copied.unreadable for maintenance in every))
    foreign = counter(
        "sfss_beansdb_foreign_writes_total", "Values that were found of writers who must not write here"
    )
    foreign.add((), sum(part.foreign_writes for part in cluster.parts))
    conflicts = counter(
        "sfss_beansdb_conflicts_total", "Versions that were found with two values: see the log"
    )
    conflicts.add((), cluster.counts.conflicts + sum(maintenance.copied.conflicts for maintenance in every))
    of_endpoints = endpoint_stats.families(nodes, "sfss_beansdb_node", "node")
    return [
        *of_endpoints,
        trusted,
        behind,
        fenced,
        repair,
        settled,
        written,
        raised,
        claims,
        repairs,
        keys,
        size,
        damaged,
        conflicts,
        foreign,
    ]
