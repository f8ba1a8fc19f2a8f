"""What a comparison of both replicas means for people: whether it may begin, its result in words, when it is due. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .marks import BLOCK_BYTES
from .mirror_verify import VerifyReport
from .status import ModuleView

MAX_RANGES_TOLD = 1000
RETRY_S = 60.0
"""How long a scheduled comparison that was cut off waits before it is tried again."""

PERSON_ENDED = "a person ended it"

Range = tuple[int, int]
"""Offset and length, bytes."""


class Order(NamedTuple):
    """A comparison that is asked for.

    Args:
        source: the node whose content is taken for a repair; None: nothing is repaired.
        scheduled: the configuration asks, not a person.
        from_bytes: where it begins.
    """

    source: str | None = None
    scheduled: bool = False
    from_bytes: int = 0


def refusal(view: ModuleView, order: Order, *, running: bool, extended: bool) -> str:
    """Why a comparison cannot begin now, and what to do, in sentences; empty when it can.

    Args:
        running: one is under way already.
        extended: the other node knows the frames of a comparison.
    """
    name, me, other = view.module, view.node, view.peer
    if order.source is not None and order.source not in (me, other):
        return f"There is no node {order.source} for {name}: take {me} or {other} as the source."
    if running:
        return f"{name} is being compared already: see `twinhull status`."
    if view.state == "SECOND":
        return f"{name} is SECOND on {me}: verify it on {other}, where it runs (twinhull --node {other} verify {name})."
    if view.state != "PRIM":
        return f"{name} is {view.state} on {me}: there are no two whole replicas to be compared. {view.sentence}".rstrip()
    if view.colour != "green" or view.phase or view.operation:
        return f"{name} is PRIM on {me}, but not green: wait until the mirror is complete. {view.sentence}".rstrip()
    if order.source is not None and not extended:
        return f"{other} runs an older version, which cannot be repaired: upgrade it, or verify without --repair."
    return ""


def result_of(
    report: VerifyReport,
    order: Order,
    reason: str,
    *,
    module: str,
    node: str,
    peer: str,
    began: str,
    ended: str,
    before: Sequence[Range],
) -> dict[str, Any]:
    """The result of a comparison as plain data, which `twinhull verify --json` and the status show.

    Args:
        report: what it found.
        reason: why it ended before its end; empty when it did not.
        began, ended: local times for people, ISO 8601.
        before: differences that were known before and not repaired: those that were not looked at now stay known.
    """
    repaired_all = report.repaired_bytes == report.differing_bytes
    found = [] if repaired_all else list(report.differences)
    looked_at = _looked_at(order, report)
    known = sorted({*found, *(each for each in before if not _inside(each, looked_at))})
    result = {
        "state": "ended early" if reason else "complete",
        "reason": reason,
        "began": began,
        "ended": ended,
        "node": node,
        "source": order.source,
        "scheduled": order.scheduled,
        "from_bytes": looked_at[0],
        "position_bytes": report.position_bytes,
        "compared_bytes": report.compared_bytes,
        "total_bytes": report.total_bytes,
        "rechecked_blocks": report.rechecked_blocks,
        "differing_bytes": report.differing_bytes,
        "repaired_bytes": report.repaired_bytes,
        "not_kept": report.not_kept,
        "ranges": [_plain(each) for each in report.differences[:MAX_RANGES_TOLD]],
        "ranges_left_out": max(0, len(report.differences) - MAX_RANGES_TOLD),
        "known": [list(each) for each in known[:MAX_RANGES_TOLD]],
        "files_note": "",
    }
    return {**result, "message": sentence(result, module, peer)}


def _looked_at(order: Order, report: VerifyReport) -> Range:
    """From where up to where everything was decided."""
    first = order.from_bytes // BLOCK_BYTES * BLOCK_BYTES
    return (first if first < report.position_bytes else 0), report.position_bytes


def _inside(each: Range, looked_at: Range) -> bool:
    return looked_at[0] <= each[0] and sum(each) <= looked_at[1]


def _plain(each: Range) -> dict[str, Any]:
    return {"offset_bytes": each[0], "length_bytes": each[1], "files": None}


def with_files(result: dict[str, Any], owners: Sequence[Sequence[str]], note: str) -> dict[str, Any]:
    """The result with the files in which the differences lie.

    Args:
        owners: for each of its ranges the names of the files.
        note: what must be known of them: not all were looked at, or they cannot be named.
    """
    ranges = [{**each, "files": list(files)} for each, files in zip(result["ranges"], owners, strict=False)]
    return {**result, "ranges": [*ranges, *result["ranges"][len(ranges) :]], "files_note": note}


def sentence(result: dict[str, Any], module: str, peer: str) -> str:
    """What came of it, in words: what was compared, what differed, what was done about it."""
    node = result["node"]
    whole = result["total_bytes"] and result["compared_bytes"] >= result["total_bytes"]
    amount = size_words(result["compared_bytes"])
    what = f"{module}: {amount} of {node} and {peer} were compared"
    if not whole:
        what += f" (of {size_words(result['total_bytes'])})"
    different, repaired = result["differing_bytes"], result["repaired_bytes"]
    if not different:
        what += ", and nothing differs." if whole else "; nothing of it differs."
    else:
        places = len(result["ranges"]) + result["ranges_left_out"]
        where = "in 1 place" if places == 1 else f"in {places} places"
        what += f"; {size_words(different)} {where} differ{'s' if places == 1 else ''}"
        what += (
            f", {size_words(repaired)} of it were made equal with the content of {result['source']}."
            if repaired
            else "."
        )
    if repaired:
        target = peer if result["source"] == node else node
        what += f" What was overwritten is kept on {target}: twinhull --node {target} rescue list {module}."
    if result["not_kept"]:
        what += f" The rest was not repaired, because its old content cannot be kept: {result['not_kept']}"
    if result["reason"]:
        what += f" It ended early: {result['reason']}."
    return what


def size_words(size_bytes: int) -> str:
    """Bytes as people read them: `32 KiB`, `1.5 GiB`."""
    for unit_bytes, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes} B"


def warning(module: str, last: dict[str, Any] | None) -> str:
    """What must be said as long as differences are known that nobody repaired; empty when there are none."""
    known = (last or {}).get("known") or []
    if last is None or not known:
        return ""
    amount = size_words(sum(length for _, length in known))
    places = "1 place" if len(known) == 1 else f"{len(known)} places"
    return (
        f"{module}: the replicas differ by {amount} in {places} (verified {last.get('ended', '')}): "
        f"see `twinhull verify {module} --repair`"
    )


def due(last: dict[str, Any] | None, opened: str, *, since_tried_s: float | None) -> Order | None:
    """What a schedule asks for while its window is open; None: nothing (any more).

    Args:
        last: the last result.
        opened: local time at which the window opened, ISO 8601 as in results.
        since_tried_s: how long ago the schedule asked last, seconds; None: not since the agent began.
    """
    if since_tried_s is not None and since_tried_s < RETRY_S:
        return None
    if last is None:
        return Order(scheduled=True)
    if last.get("state") == "ended early" and last.get("scheduled") and last.get("reason") != PERSON_ENDED:
        return Order(scheduled=True, from_bytes=int(last.get("position_bytes") or 0))
    if str(last.get("began", ""))[: len(opened)] >= opened:
        return None
    return Order(scheduled=True)
