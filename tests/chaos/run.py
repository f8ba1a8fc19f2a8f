"""Many rounds on a running pair, with what they found in build/chaos.json."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .nodes import ChaosPair
from .plan import Witness, draw
from .rounds import Outcome, play

ROUNDS_OF_A_PAIR = 40
SAMPLES = 5


@dataclass
class Tally:
    """What all rounds so far came to; its JSON form is build/chaos.json."""

    seed: int
    rounds: int = 0
    records_acknowledged: int = 0
    records_missing: int = 0
    replicas_differing: int = 0
    double_writers: int = 0
    not_green: int = 0
    defects: int = 0
    announced_splits: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    witnesses: Counter[str] = field(default_factory=Counter)
    failed_seeds: list[int] = field(default_factory=list)

    def take(self, outcome: Outcome) -> None:
        """Count a round."""
        self.rounds += 1
        self.records_acknowledged += outcome.acknowledged
        self.announced_splits += outcome.split
        self.seconds += outcome.took_s
        self.witnesses[outcome.plan.witness.value] += 1
        self.faults.update(fault.kind.value for fault in outcome.plan.faults)
        if outcome.failed:
            self.failed_seeds.append(outcome.plan.seed)
        for name, sentences in outcome.violations.items():
            setattr(self, name, getattr(self, name) + len(sentences))

    def words(self) -> dict[str, Any]:
        """For the file."""
        counts = {"faults": dict(sorted(self.faults.items())), "witnesses": dict(self.witnesses)}
        return {**vars(self), **counts, "seconds": round(self.seconds, 1)}

    def sentence(self) -> str:
        """For the end."""
        return (
            f"{self.rounds} rounds, {self.records_acknowledged} records acknowledged, {self.records_missing} missing, "
            f"{self.replicas_differing} replicas differing, {self.double_writers} double writers, "
            f"{self.not_green} not green in time, {self.defects} defects told in logs, "
            f"{self.announced_splits} announced splits"
        )


class Chaos:
    """Plays rounds. A pair is used again until a round failed on it, or it is old.

    Args:
        build: directory for the lab, the result and the logs of failed rounds.
        timeout_s: the modules' time-out T, seconds.
        say: tells a person.
    """

    def __init__(self, build: Path, timeout_s: float, say: Callable[[str], None]) -> None:
        self._build = build
        self._timeout_s = timeout_s
        self._say = say
        self._pair: ChaosPair | None = None
        self._witness = Witness.PING
        self._rounds_of_pair = 0
        self._pairs = 0

    def round(self, seed: int) -> Outcome:
        """Play the round of a seed; a failed one leaves its logs in build/chaos-failed/SEED."""
        plan = draw(seed, self._timeout_s)
        if self._rounds_of_pair >= ROUNDS_OF_A_PAIR or self._witness is not plan.witness:
            self.close()
            self._witness = plan.witness
        pair = self.pair()
        self._rounds_of_pair += 1
        outcome = play(pair, plan)
        if outcome.failed:
            kept = self._keep(pair, outcome)
            self._say(told(outcome, kept))
            self.close()
        return outcome

    def pair(self) -> ChaosPair:
        """The pair, made now when there is none. Raises LabError."""
        if self._pair is None:
            self._pair = self._begin()
        return self._pair

    def close(self) -> None:
        """Remove the pair. Idempotent."""
        if self._pair is not None:
            pair, self._pair = self._pair, None
            pair.close()

    def _begin(self) -> ChaosPair:
        self._pairs += 1
        name = f"chaos-{os.getpid()}-{self._pairs}"
        self._rounds_of_pair = 0
        pair = ChaosPair(self._build / name, name, self._witness)
        try:
            pair.begin()
        except BaseException:
            pair.close()
            raise
        return pair

    def _keep(self, pair: ChaosPair, outcome: Outcome) -> Path:
        target = self._build / "chaos-failed" / str(outcome.plan.seed)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        (target / "story.txt").write_text(told(outcome, target) + "\n", encoding="utf-8")
        for name, node in pair.lab.nodes.items():
            for file in (*node.directory.glob("*.log"), *node.disk("/var/log/twinhull").glob("*")):
                if file.is_file():
                    shutil.copyfile(file, target / f"{name}-{file.name}")
        for reports in pair.lab.reports.iterdir():
            shutil.copyfile(reports, target / f"reports-{reports.name}")
        return target


def told(outcome: Outcome, kept: Path) -> str:
    """The story of a failed round, and how to repeat it."""
    lines = [f"seed {outcome.plan.seed} FAILED: {outcome.plan}"]
    for name, sentences in outcome.violations.items():
        lines += [f"  {name}: {sentence}" for sentence in sentences[:SAMPLES]]
        lines += [f"  ... and {len(sentences) - SAMPLES} more" for _ in (1,) if len(sentences) > SAMPLES]
    lines += [outcome.story, f"logs: {kept}", f"again: make chaos ROUNDS=1 SEED={outcome.plan.seed}"]
    return "\n".join(lines)


def run(build: Path, rounds: int, seed: int, timeout_s: float, say: Callable[[str], None]) -> Tally:
    """Play rounds with the seeds from `seed` on, telling of each, and keep build/chaos.json up to date.

    Raises LabError when no pair can be made on this machine.
    """
    tally = Tally(seed)
    chaos = Chaos(build, timeout_s, say)
    begun_s = time.monotonic()
    try:
        for number in range(seed, seed + rounds):
            outcome = chaos.round(number)
            tally.take(outcome)
            write(build / "chaos.json", tally)
            per_hour = tally.rounds / (time.monotonic() - begun_s) * 3600
            say(
                f"round {tally.rounds}/{rounds} {'FAILED' if outcome.failed else 'ok'} in {outcome.took_s:.0f} s: "
                f"seed {number}, {outcome.acknowledged} records{', split' if outcome.split else ''}; "
                f"{len(tally.failed_seeds)} failed so far, {per_hour:.0f} rounds an hour"
            )
    finally:
        chaos.close()
    return tally


def write(file: Path, tally: Tally) -> None:
    """Whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(tally.words(), indent=2) + "\n", encoding="utf-8")
    draft.replace(file)
