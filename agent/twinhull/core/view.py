"""The picture of a module for people, from the facts of its machine."""

from __future__ import annotations

from . import policy, waiting
from .decide import Kind
from .identity import short
from .record import Role, WitnessKind
from .session import verdict_of
from .state import SHOWN, HostState, Mode, Module, Phase
from .status import ModuleView

RESOURCE_WORDS = {
    HostState.OFF: "is off",
    HostState.ATTACHING: "is off, its folder is being mounted",
    HostState.ATTACHED: "is off, its folder is mounted",
    HostState.STARTING: "is starting",
    HostState.RUNNING: "runs",
    HostState.STOPPING: "is being stopped",
    HostState.DETACHING: "is off, its folder is being freed",
}
PHASE_WORDS = {
    Phase.BEGUN: "beginning",
    Phase.COPYING: "resynchronising",
    Phase.REVISION: "asking the witness",
    Phase.FLUSHING: "flushing",
    Phase.RECORDING: "telling the witness",
    Phase.LISTING: "telling the witness",
    Phase.CONFIRMING: "finishing the resync",
    Phase.TAKEN: "taking over",
    Phase.GREEN: "",
}


def view(m: Module, now_s: float) -> ModuleView:
    """What status and console show of this module on this node."""
    record, peer = m.record, m.peer
    heard_s = None if peer.heard_s is None else max(0.0, now_s - peer.heard_s)
    reachable = heard_s is not None and heard_s < m.second_timeout_s
    return ModuleView(
        module=m.name,
        node=m.me,
        peer=m.other,
        state=SHOWN[m.mode],
        colour=colour(m),
        uptodate=record.uptodate,
        holding=_holding(m),
        phase=phase(m),
        sentence=m.sentence,
        waiting_for=waiting.waits_for(m),
        outdated_reason=record.outdated_reason,
        resource=f"{RESOURCE_WORDS[m.host.state]}{', suspended' if m.host.suspended else ''}",
        resource_state=m.host.state.value,
        restarts=policy.restarts_counted(m),
        restart_limit=m.settings.restart_limit,
        checkers_suspended=m.checkers_suspended,
        fault=m.fault,
        warnings=_warnings(m),
        generation=short(record.generation.id if record.generation else None),
        peer_may_be_uptodate=record.peer_may_be_uptodate,
        alone_since_s=None if m.alone_since_s is None else max(0.0, now_s - m.alone_since_s),
        peer_state=(peer.state or "unknown") if reachable else _unheard(m, now_s),
        peer_heard_s=heard_s,
        connected=m.session is not None or m.link is not None,
        volume=record.volume_id is not None,
        preferred=m.settings.preferred,
        role=record.role.name.lower(),
        timeout_s=m.timeout_s,
        operation=m.work.work.value if m.work else "",
        witness=(m.settings.witness if record.volume_id is None else m.witness).name.lower(),
        replica=record.replica_id.hex(),
        peer_replica=record.peer_replica_id.hex() if record.peer_replica_id else "",
        history=record.generation.id.hex() if record.generation else "",
    )


def _unheard(m: Module, now_s: float) -> str:
    agent_s = m.peer.agent_heard_s
    if agent_s is None or now_s - agent_s >= m.second_timeout_s:
        return "unreachable"
    return "worker silent" if m.peer.worker_runs else "no worker"


def colour(m: Module) -> str:
    """Green: as it should be. Orange: in transition. Red: not running, or in danger."""
    if m.fault or m.mode is Mode.STOP:
        return "red"
    if m.mode is Mode.WAIT:
        verdict = verdict_of(m)
        on_the_way = verdict is not None and verdict.kind is Kind.SESSION
        return "orange" if on_the_way or (verdict is None and not waiting.is_apart(m)) else "red"
    if m.mode is Mode.ALONE:
        verdict = verdict_of(m)
        if verdict is not None and verdict.kind is Kind.SPLIT:
            return "red"
        return "green" if _runs(m) else "orange"
    current = m.session
    if m.mode is Mode.PRIM and current is not None and current.green:
        return "green" if _runs(m) and m.work is None else "orange"
    if m.mode is Mode.SECOND and current is not None and current.green:
        return "green" if m.now_s - current.heard_s < m.timeout_s else "orange"
    return "orange"


def phase(m: Module) -> str:
    """What the state is in the middle of; empty when nothing."""
    if m.mode is Mode.HOLD:
        return "holding writes"
    if m.mode is Mode.ASKING or (m.mode is Mode.SECOND and m.session is None):
        return f"without {m.other}"
    if m.mode is Mode.GIVING:
        return "handing over"
    if m.session is not None and PHASE_WORDS[m.session.phase]:
        return PHASE_WORDS[m.session.phase]
    if m.mode in (Mode.ALONE, Mode.PRIM) and m.host.up and not _runs(m):
        return "starting"
    if m.host.state in (HostState.STOPPING, HostState.DETACHING):
        return "stopping"
    return ""


def _runs(m: Module) -> bool:
    return m.host.state is HostState.RUNNING and not m.host.cycle


def _holding(m: Module) -> bool:
    if m.mode is Mode.HOLD:
        return True
    return m.mode is Mode.PRIM and not (m.io_open and m.leased)


def _warnings(m: Module) -> tuple[str, ...]:
    """What must be known all the time."""
    found: list[str] = []
    if m.record.role is not Role.NONE or m.record.volume_id is not None:
        if m.witness is WitnessKind.NONE:
            found.append("no witness: a cut network can split this cluster")
        elif m.witness is WitnessKind.PING:
            found.append("ping witness: if both nodes reach it while their own network is cut, they split")
    if m.witness_remembers and m.witness_trouble:
        found.append(m.witness_trouble)
    if m.witness is not m.settings.witness and m.record.volume_id is not None:
        found.append(
            f"the witness is configured as {m.settings.witness.name.lower()}, and {m.witness.name.lower()} "
            "rules until both nodes are connected and configured alike"
        )
    theirs = m.link.theirs if m.link is not None else None
    if theirs is not None:
        if theirs.preferred != m.settings.preferred:
            found.append(f"the preferred node is configured differently on {m.me} and {m.other}")
        if theirs.witness != m.settings.witness.name.lower() or theirs.keep != m.settings.keep.value:
            found.append(f"witness or keep is configured differently on {m.me} and {m.other}: keep is ask")
    verdict = verdict_of(m)
    if verdict is not None and verdict.kind in (Kind.SPLIT, Kind.REFUSE, Kind.NOTHING, Kind.GRANT):
        found.append(verdict.reason)
    if m.rescue_trouble and m.record.volume_id is not None:
        found.append(
            f"no rescue can be begun on {m.me}, so that a split brain would have to be healed by a person: "
            f"{m.rescue_trouble}"
        )
    if m.mode is Mode.ALONE:
        found.append(f"not protected: {m.other} has no uptodate replica")
    return tuple(found)
