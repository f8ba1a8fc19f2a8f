"""The comparisons of one module, as its worker has them made: begun, shown, ended, their result durable.

The result lies in `DATA_DIR/verify/MODULE.json` on the node where the comparison ran. It is written when the comparison
begins, too, so that one that a crash ended is not taken for one that never was.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinhull.core import verify
from twinhull.core.effects import VerifyEnded
from twinhull.core.mirror import Mirror, Repair, VerifyReport
from twinhull.core.status import ModuleView
from twinhull.core.verify import Order, Range
from twinhull.errors import TwinhullError
from twinhull.resources.run import Run

from .lanes import Lane, Outcome

NAMING_S = 30.0
NAMING_PATIENCE_S = 45.0
NAMED_RANGES = 200
CUT_OFF = "the worker ended before it was done"
UNKNOWN_FILES = "The files are not known: {reason}"
NOT_ALL = "Not all files were looked at in time: there may be more."

Log = logging.LoggerAdapter[logging.Logger]
Named = tuple[list[list[str]], str]
"""For each range its files, and what must be known of them."""


@dataclass(frozen=True)
class VerifyParts:
    """What differs between platforms and tests.

    Args:
        file: of the result.
        name_files: names the files of ranges of the mounted folder; may take its time (it runs on a lane).
    """

    file: Path
    name_files: Callable[[list[Range]], Named]


class Verification:
    """Makes the comparisons of one module. Everything on the loop.

    Args:
        view: what the machine shows now.
        extended: whether the other node knows the frames of a comparison.
        lane: writes the result and names files.
        clock: of the mirror, seconds.
    """

    def __init__(
        self,
        parts: VerifyParts,
        mirror: Mirror,
        *,
        view: Callable[[], ModuleView],
        extended: Callable[[], bool],
        lane: Lane,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._mirror = mirror
        self._view = view
        self._extended = extended
        self._lane = lane
        self._log = log
        self._clock = clock
        self._order: Order | None = (
            None  # of the comparison that is under way, or whose result is being written
        )
        self._began = ""
        self._runs = 0
        self._last = self._read_last()

    # ---- commands ----------------------------------------------------------------------------------

    def begin(self, arguments: Mapping[str, Any]) -> tuple[bool, str]:
        """Compare now. Whether it has begun, and a sentence."""
        order = Order(
            source=_text_or_none(arguments.get("source")),
            scheduled=bool(arguments.get("scheduled")),
            from_bytes=int(arguments.get("from_bytes") or 0),
        )
        view, extended = self._view(), self._extended()
        refused = verify.refusal(view, order, running=self._order is not None, extended=extended)
        if refused:
            return False, refused
        repair = Repair.NO
        if order.source is not None:
            repair = Repair.FROM_PRIMARY if order.source == view.node else Repair.FROM_SECONDARY
        # Set before the mirror begins: a comparison may be over at once.
        self._order, self._began = order, _now()
        if not self._mirror.start_verify(order.from_bytes, repair, extended=extended, now_s=self._clock()):
            self._order = None
            return False, f"{view.module} cannot be compared now: the nodes are not in step. Try again soon."
        self._lane.submit(lambda: self._write(self._running_result(view.node)), self._written)
        what = f"{view.module} is being compared between {view.node} and {view.peer}"
        done = f", and made equal with the content of {order.source}" if order.source else ""
        why = " (as the configuration plans)" if order.scheduled else ""
        self._log.info("%s%s%s", what, done, why)
        return True, f"{what}{done}."

    def end(self, reason: str) -> tuple[bool, str]:
        """End the comparison that is under way. Whether there was one, and a sentence."""
        module = self._view().module
        if self._mirror.verify_report(self._clock()) is None:
            return False, f"{module} is not being compared."
        self._mirror.end_verify(reason, self._clock())
        return True, f"The comparison of {module} is ended."

    # ---- its end -----------------------------------------------------------------------------------

    def ended(self, effect: VerifyEnded) -> None:
        """The mirror is done: have the result durable, with the files that differ."""
        order, report = self._order or Order(), effect.report
        if not isinstance(report, VerifyReport):
            raise TypeError("a comparison ended without a report")
        view = self._view()
        reason = effect.reason
        if reason and view.sentence and reason.startswith(("the connection", "the module")):
            reason = f"{reason} ({view.sentence.rstrip('.')})"
        result = verify.result_of(
            report,
            order,
            reason,
            module=view.module,
            node=view.node,
            peer=view.peer,
            began=self._began,
            ended=_now(),
            before=[(int(offset), int(length)) for offset, length in (self._last or {}).get("known") or ()],
        )
        level = logging.WARNING if report.differing_bytes else logging.INFO
        self._log.log(level, "%s", result["message"])
        self._last = result
        ranges = list(report.differences[:NAMED_RANGES])

        def finish() -> dict[str, Any]:
            self._write(result)
            if not ranges:
                return result
            owners, note = self._parts.name_files(ranges)
            named = verify.with_files(result, owners, note)
            self._write(named)
            return named

        self._lane.submit(finish, self._finished)

    def _finished(self, outcome: Outcome[dict[str, Any]]) -> None:
        self._written(outcome)
        if outcome.error is None:
            self._last = outcome.value()
        self._order = None
        self._runs += 1

    def _written(self, outcome: Outcome[Any]) -> None:
        error = outcome.error
        if error is None:
            return
        if not isinstance(error, OSError | TwinhullError):
            raise error
        self._log.error("the result of the comparison cannot be kept in %s: %s", self._parts.file, error)

    # ---- looking -----------------------------------------------------------------------------------

    def shown(self) -> dict[str, Any]:
        """What the view tells: the comparison under way, how many have ended, the last result."""
        report, order = self._mirror.verify_report(self._clock()), self._order
        running = None
        if order is not None:
            running = {"began": self._began, "source": order.source, "scheduled": order.scheduled}
            running |= _progress(report) if report is not None else {"finishing": True}
        return {"running": running, "runs": self._runs, "last": self._last}

    # ---- the file ----------------------------------------------------------------------------------

    def _running_result(self, node: str) -> dict[str, Any]:
        order = self._order or Order()
        return {
            "state": "running",
            "began": self._began,
            "node": node,
            "source": order.source,
            "scheduled": order.scheduled,
            "known": (self._last or {}).get("known") or [],
        }

    def _read_last(self) -> dict[str, Any] | None:
        try:
            last = json.loads(self._parts.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._log.warning("the result of the last comparison cannot be read: %s", error)
            return None
        if not isinstance(last, dict):
            return None
        if last.get("state") == "running":
            last |= {
                "state": "ended early",
                "reason": CUT_OFF,
                "ended": last.get("began"),
                "position_bytes": 0,
            }
            last["message"] = f"The comparison that began at {last.get('began')} was cut off: {CUT_OFF}."
        return last

    def _write(self, result: Mapping[str, Any]) -> None:
        """Durably, in one step. Raises OSError."""
        file = self._parts.file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(result, opened)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
        if sys.platform == "win32":
            return
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(directory)
        finally:
            os.close(directory)


def _progress(report: VerifyReport) -> dict[str, Any]:
    left, rate = report.total_bytes - report.compared_bytes, report.rate_bytes_s
    return {
        "done_bytes": report.compared_bytes,
        "total_bytes": report.total_bytes,
        "rate_bytes_s": rate,
        "eta_s": left / rate if rate > 0 else None,
        "differing_bytes": report.differing_bytes,
        "repaired_bytes": report.repaired_bytes,
    }


def name_files(folder: Path, ranges: list[Range], *, run: Run, launcher: tuple[str, ...]) -> Named:
    """The files of a mounted folder in which ranges of its volume lie; never raises what is no defect of ours.

    Args:
        run: runs a command with a time limit.
        launcher: put before the command.
    """
    program = Path(__file__).parents[1] / "attach" / "filemap.py"
    places = ",".join(f"{offset}+{length}" for offset, length in ranges)
    argv = [*launcher, sys.executable, "-I", "-S", str(program), str(folder), str(NAMING_S), places]
    try:
        done = run(argv, timeout_s=NAMING_PATIENCE_S)
        told = json.loads(done.out) if done.code == 0 else None
    except (TwinhullError, ValueError) as error:
        return [], UNKNOWN_FILES.format(reason=error)
    if not isinstance(told, dict):
        return [], UNKNOWN_FILES.format(reason=done.err.strip() or f"the look ended with {done.code}")
    notes = [] if told["all"] else [NOT_ALL]
    if told["all"] and not all(told["files"]):
        notes.append("Places without a file are free space or belong to the file system itself.")
    return [list(files) for files in told["files"]], " ".join(notes)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _now() -> str:
    return dt.datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")
