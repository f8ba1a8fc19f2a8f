"""What a person (log, status, console) is shown of a module: plain data that becomes JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModuleView:
    """One module as this node sees it.

    Args:
        module, node, peer: names.
        state: STOP, WAIT, ALONE, PRIM or SECOND.
        colour: red, orange (in transition, holding, resynchronising) or green.
        uptodate: whether this replica holds every acknowledged write.
        holding: the resource's I/O is held.
        phase: what the state is in the middle of, in one or two words; empty when nothing.
        sentence: the last transition with its reason.
        waiting_for: who or what is waited for, in words; empty when nothing.
        outdated_reason: why this replica is not uptodate; empty while it is.
        resource: what the resource does, in words; `resource_state` is the same as one word
            (off, attaching, attached, starting, running, stopping, stopped, detaching).
        restarts: restarts of the resource within the last `restart_window_s`, of at most `restart_limit`.
        checkers_suspended: a person suspended the checkers.
        fault: what is broken here and what to do; empty when nothing.
        warnings: what must be known all the time.
        generation: first digits of the generation, `-` for a blank replica.
        peer_may_be_uptodate: what the record says of the peer.
        alone_since_s: seconds since the resource runs without a second copy; None while it does not.
        peer_state: the peer's state as last heard; `unreachable`, or `no worker` / `worker silent` when only
            its agent is heard.
        peer_heard_s: seconds since the peer's worker was last heard; None if never.
        connected: a data stream stands.
        volume: whether the replica is part of a volume (False: nothing was protected here yet).
        preferred: name of the preferred node, or None.
        role: the role recorded last (none, primary, secondary).
        timeout_s: the T that rules, seconds.
        operation: the operator's work under way (swap, stop, restart, ...), or empty.
        witness: the kind of witness that rules here now (none, ping, etcd).
        replica, peer_replica, history: ids of this replica, of the one it was mirrored with last and of the generation,
            hexadecimal; empty when there is none.
    """

    module: str
    node: str
    peer: str
    state: str
    colour: str
    uptodate: bool
    holding: bool
    phase: str
    sentence: str
    waiting_for: str
    outdated_reason: str
    resource: str
    resource_state: str
    restarts: int
    restart_limit: int
    checkers_suspended: bool
    fault: str
    warnings: tuple[str, ...]
    generation: str
    peer_may_be_uptodate: bool
    alone_since_s: float | None
    peer_state: str
    peer_heard_s: float | None
    connected: bool
    volume: bool
    preferred: str | None
    role: str
    timeout_s: float
    operation: str
    witness: str
    replica: str
    peer_replica: str
    history: str
