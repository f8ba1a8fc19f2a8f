"""The decision table: what two nodes that hear each other do, from their two hellos alone.

Both nodes compute it, each from its side, and come to the same verdict (a test holds that). Uptodate is
looked at before generation, generation before preference (DESIGN.md section 3, "Start").
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .heal import Choice, choose
from .identity import Relation
from .messages import Hello


class Kind(enum.Enum):
    """What the table says."""

    SESSION = "session"  # one becomes (stays) PRIM, the other SECOND
    GRANT = "grant"  # the same, once the witness lets the first one go on alone
    REPLACED = "replaced"  # one holds I/O of a history that goes on elsewhere: it turns its resource off
    SPLIT = "split"  # both histories went on: the keep policy or a person decides
    REFUSE = "refuse"  # the two do not belong together
    STOPPED = "stopped"  # one is stopped; it only answers
    NOTHING = "nothing"  # no replica is known to be whole


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this node does.

    Args:
        kind: see `Kind`.
        reason: why, in words; names the nodes.
        mine: SESSION and GRANT: this node becomes PRIM. REPLACED: this node is the one replaced.
        resend: the session goes on where the lost one stopped; unanswered writes are sent again.
        everything: no bitmap reaches back to what the SECOND holds.
        outdates: the SECOND must record itself not uptodate: there is something to copy.
        witness: the kind of witness changes to or from one with a memory, to this one; only beside `outdates`.
        heal: SPLIT: who goes on by the keep policy; None: a person decides.
    """

    kind: Kind
    reason: str
    mine: bool = False
    resend: bool = False
    everything: bool = False
    outdates: bool = False
    witness: str = ""
    heal: Choice | None = None


STOP_STATE = "STOP"
ALONE_STATE = "ALONE"
REMEMBERS = "etcd"


def decide(mine: Hello, theirs: Hello, *, me: str, peer: str) -> Verdict:
    """The verdict of this node.

    Args:
        mine, theirs: the newest hello of each side.
        me, peer: the nodes' names, for the reason and the preference.
    """
    return (
        _incompatible(mine, theirs, me, peer)
        or _stopped(mine, theirs, me, peer)
        or _doubtful(mine, theirs, me, peer)
        or _both_run(mine, theirs, me, peer)
        or _one_runs(mine, theirs, me, peer)
        or _none_runs(mine, theirs, me, peer)
    )


def _incompatible(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict | None:
    blank = mine.generation is None or theirs.generation is None
    if mine.volume and theirs.volume and mine.volume != theirs.volume and not blank:
        return Verdict(
            Kind.REFUSE,
            f"{me} and {peer} hold different volumes; remove the wrong one (unprotect) and start again",
        )
    if mine.size_bytes != theirs.size_bytes:
        return Verdict(
            Kind.REFUSE,
            f"the volume has {mine.size_bytes} bytes on {me} and {theirs.size_bytes} bytes on {peer}; "
            "make the configurations equal",
        )
    return None


def _stopped(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict | None:
    if mine.state == STOP_STATE:
        return Verdict(Kind.STOPPED, f"the module is stopped on {me}", mine=True)
    if theirs.state == STOP_STATE:
        return Verdict(Kind.STOPPED, f"the module is stopped on {peer}")
    return None


def _doubtful(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict | None:
    if mine.generation is None and theirs.generation is None:
        return Verdict(
            Kind.NOTHING, f"nothing was protected yet on {me} or {peer}; run protect on one of them"
        )
    if mine.uptodate or theirs.uptodate or mine.running or theirs.running:
        return None
    nobody = f"neither {me} nor {peer} holds a replica that is known to be whole"
    blank, holds = (me, peer) if mine.generation is None else (peer, me)
    if mine.generation is None or theirs.generation is None:
        return Verdict(
            Kind.NOTHING,
            f"{nobody}, and {blank} is blank; start --as-primary on {holds}, after looking at it",
        )
    return Verdict(Kind.NOTHING, f"{nobody}; start --as-primary on the better one, after looking at both")


def _both_run(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict | None:
    if not (mine.running and theirs.running):
        return None
    i_hold, peer_holds = mine.state != ALONE_STATE, theirs.state != ALONE_STATE
    relation = _relation(mine, theirs)
    if i_hold and peer_holds and relation is Relation.EQUAL:
        wins = _preferred(mine, theirs, me, peer)
        return Verdict(Kind.REPLACED, f"both held I/O; {wins.reason}", mine=not wins.mine)
    if i_hold and relation in (Relation.OLDER, Relation.EQUAL):
        return Verdict(Kind.REPLACED, f"{peer} went on alone meanwhile", mine=True)
    if peer_holds and relation in (Relation.NEWER, Relation.EQUAL):
        return Verdict(Kind.REPLACED, f"{me} went on alone meanwhile")
    return _split(mine, theirs, me, peer, f"{me} and {peer} both run the module alone")


def _one_runs(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict | None:
    if mine.running == theirs.running:
        return None
    runner, other = (mine, theirs) if mine.running else (theirs, mine)
    runs, waits = (me, peer) if mine.running else (peer, me)
    if runner.session is not None and runner.session == other.session and other.uptodate:
        return _session(
            runner, other, mine is runner, f"{runs} holds what {waits} had not answered", resend=True
        )
    if other.generation is None:
        return _session(runner, other, mine is runner, f"{runs} runs the module and {waits} is blank")
    if not other.uptodate:
        return _session(runner, other, mine is runner, f"{runs} runs the module and {waits} is not uptodate")
    relation = _relation(other, runner)
    if relation is Relation.EQUAL:
        return _session(runner, other, mine is runner, f"{runs} runs the module")
    if relation is Relation.OLDER:
        return _session(runner, other, mine is runner, f"{runs} runs the module and {waits} is older")
    if relation is Relation.NEWER and runner.state != ALONE_STATE:
        return Verdict(Kind.REPLACED, f"{waits} has gone on without {runs}", mine=mine is runner)
    if relation is Relation.UNRELATED:
        return _unrelated(me, peer)
    return _split(
        mine,
        theirs,
        me,
        peer,
        f"{runs} runs the module, and {waits} holds another history that was written alone",
    )


def _none_runs(mine: Hello, theirs: Hello, me: str, peer: str) -> Verdict:
    if mine.uptodate != theirs.uptodate:
        source, target = (me, peer) if mine.uptodate else (peer, me)
        first, second = (mine, theirs) if mine.uptodate else (theirs, mine)
        what = "blank" if second.generation is None else "not uptodate"
        return _session(first, second, mine.uptodate, f"{source} is uptodate and {target} is {what}")
    relation = _relation(mine, theirs)
    if relation is Relation.EQUAL:
        wins = _preferred(mine, theirs, me, peer)
        first, second = (mine, theirs) if wins.mine else (theirs, mine)
        return _session(first, second, wins.mine, wins.reason)
    if relation is Relation.NEWER:
        return _session(mine, theirs, True, f"{me} has the newer history")
    if relation is Relation.OLDER:
        return _session(theirs, mine, False, f"{peer} has the newer history")
    if relation is Relation.UNRELATED:
        return _unrelated(me, peer)
    return _split(mine, theirs, me, peer, f"{me} and {peer} both wrote alone")


@dataclass(frozen=True, slots=True)
class _Wins:
    mine: bool
    reason: str


def _preferred(mine: Hello, theirs: Hello, me: str, peer: str) -> _Wins:
    """Who of two equals goes first. Who stayed up may hold what the other lost with its power."""
    if mine.survivor != theirs.survivor:
        return _Wins(mine.survivor, f"{me if mine.survivor else peer} was ready to take over and has run on")
    if mine.preferred == theirs.preferred and mine.preferred in (me, peer):
        return _Wins(mine.preferred == me, f"{mine.preferred} is the preferred node")
    if (mine.role == "primary") != (theirs.role == "primary"):
        first = mine.role == "primary"
        return _Wins(first, f"{me if first else peer} was the last primary")
    first = mine.replica < theirs.replica
    return _Wins(first, f"both are equal, and {me if first else peer} has the smaller replica id")


def _relation(first: Hello, second: Hello) -> Relation:
    if first.generation is None:
        return Relation.EQUAL if second.generation is None else Relation.OLDER
    if second.generation is None:
        return Relation.NEWER
    return first.generation.relation(second.generation)


def _session(primary: Hello, second: Hello, mine: bool, reason: str, *, resend: bool = False) -> Verdict:
    if resend:
        return Verdict(Kind.SESSION, reason, mine=mine, resend=True)
    everything = not _reaches_back(primary, second)
    witness = _new_witness(primary, second)
    outdates = (
        everything
        or bool(witness)
        or not second.uptodate
        or not primary.peer_may_be_uptodate
        or primary.marks
        or second.marks
        or primary.generation != second.generation
    )
    kind = Kind.SESSION
    if _replica_is_gone(primary, second):
        kind = Kind.GRANT
        reason = f"{reason}; whether the replica before it went on alone, only the witness knows"
    return Verdict(kind, reason, mine=mine, everything=everything, outdates=outdates, witness=witness)


def _replica_is_gone(primary: Hello, second: Hello) -> bool:
    """Whether nobody is left who would know that the first one was replaced, save a witness with a memory."""
    return (
        primary.state != ALONE_STATE
        and primary.runs_under == REMEMBERS
        and primary.peer_may_be_uptodate
        and primary.peer_replica is not None
        and primary.peer_replica != second.replica
    )


def _new_witness(primary: Hello, second: Hello) -> str:
    """The kind that both must change to, where one with a memory is left, taken up or known to one side alone.

    Differing configurations leave everything as the PRIM's history has it.
    """
    if primary.runs_under is None or second.runs_under is None:
        return ""
    target = primary.witness if primary.witness == second.witness else primary.runs_under
    kinds = {primary.runs_under, second.runs_under, target}
    return target if REMEMBERS in kinds and len(kinds) > 1 else ""


def _reaches_back(primary: Hello, second: Hello) -> bool:
    """Whether what both have marked covers every difference between them."""
    if primary.generation is None or second.generation is None:
        return False
    if primary.peer_replica != second.replica or second.peer_replica != primary.replica:
        return False
    return second.generation.relation(primary.generation) in (Relation.EQUAL, Relation.OLDER)


def _split(mine: Hello, theirs: Hello, me: str, peer: str, what: str) -> Verdict:
    choice = choose(mine, theirs, me, peer)
    if isinstance(choice, Choice):
        goes, gives = (me, peer) if choice.mine else (peer, me)
        reason = f"{what}: split brain; {goes} goes on and {gives} gives way, because {choice.reason}"
        return Verdict(Kind.SPLIT, reason, mine=choice.mine, heal=choice)
    why = f" ({choice}, so that only a person can heal it)" if choice else ""
    return Verdict(
        Kind.SPLIT,
        f"{what}: split brain{why}; stop the module on the node whose changes are to be given up, "
        f"start --as-primary on the other, then start the first again ({me} and {peer} stay as they are)",
    )


def _unrelated(me: str, peer: str) -> Verdict:
    return Verdict(
        Kind.REFUSE,
        f"the histories of {me} and {peer} have nothing in common; "
        "start --as-primary on the node whose data is to be kept",
    )
