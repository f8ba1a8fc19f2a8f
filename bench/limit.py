"""The limit of a work: its local path without replication, and the raw wire, as if nothing else cost anything. No I/O."""

from __future__ import annotations

from bench.rows import Sample

WIRE_OF = {
    "write-4k": "round",
    "write-4k-fsync": "round",
    "write-4k-depth16": "pipeline",
    "write-1m": "stream",
    "iscsi-4k": "round",
    "iscsi-4k-depth16": "pipeline",
    "iscsi-1m": "stream",
    "resync-scattered": "stream",
    "resync-whole": "stream",
    "digests": "stream",
}
"""What of the wire each work needs; reads need nothing."""
ROUND_TRIPS = {"write-4k": 1, "write-4k-fsync": 2, "iscsi-4k": 1}
"""Of the works that do one thing at a time."""


def limit(work: str, local: Sample | None, wire: Sample | None) -> Sample:
    """One at a time the times add up (a write and its flush are two round trips); streams go as fast as the slower of
    the two. A copy between the nodes has the wire alone as its limit.

    Args:
        work: its name.
        local: the local path's figure, for works through the folder or on the iSCSI disk.
        wire: see `WIRE_OF`; None for works that need none.
    """
    if wire is None:
        assert local is not None
        return Sample(local.value)
    if local is None:
        return wire
    notes = {"local": local.value, "wire": wire.value}
    if work in ROUND_TRIPS:
        return Sample(local.value + ROUND_TRIPS[work] * wire.value, notes)
    return Sample(min(local.value, wire.value), notes)
