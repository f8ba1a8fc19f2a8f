"""A seed for each deliberate bug that finds it: `python -m tests.simulation --mutants` looks for others."""

from __future__ import annotations

SEEDS: dict[str, int] = {
    "ack before the peer has it": 0,
    "ack before the own disk has it": 14,
    "ack on receipt": 0,
    "flush not sent": 0,
    "flush confirmed but not made": 0,
    "FUA ignored": 2,
    "discard not replicated": 2,
    "lease ignored": 50,
    "not sent again": 4,
    "session ended before its writes": 33,
    "resync block lands over a newer write": 1,
    "promoted while resyncing": 13,
    "no re-asking after a pause": 48,
    "nothing to copy": 1,
    "marks denied": 72,
    "outdated not recorded": 2,
    'uptodate before "peer may be uptodate"': 1,
    "rescue block written after the overwrite": 19,
    "rescue not synced": 19,
    'ack before "alone" is durable': 1,
    "told before it is durable": 2,
    "fsync error swallowed": 29,
    "a record that failed counts all the same": 560,
    "record not synced": 64,
}
