"""What core must know of a module's configuration. Built by the worker from the YAML; immutable."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .record import WitnessKind
from .rescue import WhenFull

LONGEST_TIMEOUT_S = 120.0
"""The longest T that can be configured: a host without a bound of its own stands it."""


class Keep(enum.Enum):
    """Who wins a split brain. Where no rescue store is available `ASK` applies."""

    ASK = "ask"
    LONGEST_RUNNING = "longest-running"
    PREFERRED_NODE = "preferred-node"


class StopMode(enum.Enum):
    """How a resource is stopped."""

    STOP = "stop"  # guest shutdown / stop script
    SAVE = "save"  # state saved into the folder
    OFF = "off"


class Boot(enum.Enum):
    """What happens to the module when its node boots."""

    AUTO = "auto"
    MANUAL = "manual"


class Return(enum.Enum):
    """When the module goes back to its preferred node after a reintegration."""

    MANUAL = "manual"
    AT_ONCE = "at-once"
    WINDOW = "window"  # within the maintenance window; the shell says when it is open


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """One module as core sees it; times in seconds.

    Args:
        module: name of the module.
        node: name of this node.
        peer: name of the other node.
        preferred: name of the preferred node, or None.
        timeout_s: T of DESIGN.md section 2.
        longest_s: the longest T that the time-outs of this host's own initiator outlast; at least `timeout_s`.
            None: not told to the peer, as by a version before this one.
        write_timeout_s: how long a write may stay unanswered before its replica counts as lost.
        witness_timeout_s: how long an answer of the witness is waited for.
        witness_retry_s: pause between questions of a waiting node.
        witness_watch_s: pause between looks at a witness with a memory while all is well.
        split_brain_full, resync_full: what is done when the rescue of one cannot be kept.
        restart_limit: restarts in `restart_window_s` before the module stops here and fails over.
    """

    module: str
    node: str
    peer: str
    preferred: str | None = None
    timeout_s: float = 10.0
    longest_s: float | None = LONGEST_TIMEOUT_S
    write_timeout_s: float = 10.0
    witness: WitnessKind = WitnessKind.NONE
    witness_timeout_s: float = 5.0
    witness_retry_s: float = 5.0
    witness_watch_s: float = 30.0
    keep: Keep = Keep.ASK
    split_brain_full: WhenFull = WhenFull.ASK
    resync_full: WhenFull = WhenFull.GIVE_UP
    boot: Boot = Boot.AUTO
    boot_delay_s: float = 0.0
    give_back: Return = Return.MANUAL
    stop_mode: StopMode = StopMode.STOP
    forced_stop_mode: StopMode = StopMode.OFF
    stop_timeout_s: float = 120.0
    restart_limit: int = 3
    restart_window_s: float = 86_400.0
    labels: dict[str, str] = field(default_factory=dict)
