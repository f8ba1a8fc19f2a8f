"""What a worker shows of its module, as its agent takes it.

Agent and worker may be of different versions for days (an upgrade leaves workers running). So neither minds members that it
does not know, and what a worker of another version does not tell stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNTOLD: Mapping[str, Any] = {
    "module": "",
    "node": "",
    "peer": "",
    "state": "STOP",
    "colour": "red",
    "uptodate": False,
    "holding": False,
    "phase": "",
    "sentence": "",
    "waiting_for": "",
    "outdated_reason": "",
    "resource": "unknown",
    "resource_state": "off",
    "restarts": 0,
    "restart_limit": 1,
    "checkers_suspended": False,
    "fault": "",
    "warnings": [],
    "generation": "-",
    "peer_may_be_uptodate": True,
    "alone_since_s": None,
    "peer_state": "unknown",
    "peer_heard_s": None,
    "connected": False,
    "volume": True,
    "preferred": None,
    "role": "none",
    "timeout_s": 10.0,
    "operation": "",
    "witness": "",
    "replica": "",
    "peer_replica": "",
    "history": "",
    "sync": None,
    "marked_bytes": 0,
    "checker_items": {},
    "network": None,
    "version": "",
    "moving": None,
    "move_failure": "",
    "verify": None,
    "allocated_bytes": None,
    "disk_free_bytes": None,
    "disk_total_bytes": None,
    "space_warnings": [],
}
"""The most careful reading of every member that is missing: state STOP is believed only when it is told, see below."""


def whole_view(told: object) -> dict[str, Any]:
    """A view with every member.

    Args:
        told: what the worker sent.

    Raises:
        ValueError: it tells no state: nothing may be concluded from such a worker.
    """
    if not isinstance(told, dict) or not isinstance(told.get("state"), str):
        raise ValueError("a view without a state")
    return {**UNTOLD, **told}
