"""Many lives: counted, told of, and written down."""

from __future__ import annotations

import gc
import json
import multiprocessing
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .life import Life, live

CHUNK = 50
SHOWN_EVERY_S = 10.0


@dataclass
class Tally:
    """What came of some lives.

    Args:
        violations: seed and promise of those in which one did not hold.
    """

    lives: int = 0
    violations: list[tuple[int, str]] = field(default_factory=list)
    coverage: Counter[str] = field(default_factory=Counter)
    simulated_s: float = 0.0
    acked: int = 0
    cpu_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Those of another process."""
        self.lives += other.lives
        self.violations += other.violations
        self.coverage += other.coverage
        self.simulated_s += other.simulated_s
        self.acked += other.acked
        self.cpu_s += other.cpu_s


@dataclass(frozen=True)
class Batch:
    """Seeds that one process lives through, one after the other."""

    first: int
    count: int
    without: frozenset[str] = frozenset()


def live_batch(batch: Batch) -> Tally:
    """Live through them. A life is one large cycle of garbage: whoever goes on afterwards collects it."""
    tally = Tally()
    gc.disable()
    began_s = time.process_time()
    for seed in range(batch.first, batch.first + batch.count):
        _count(tally, live(seed, without=batch.without))
    tally.cpu_s = time.process_time() - began_s
    gc.enable()
    return tally


def _count(tally: Tally, life: Life) -> None:
    tally.lives += 1
    tally.coverage += life.coverage
    tally.simulated_s += life.simulated_s
    tally.acked += life.acked
    if life.violation:
        tally.violations.append((life.seed, life.violation))


def run(
    seeds: int,
    first: int,
    jobs: int,
    *,
    without: frozenset[str] = frozenset(),
    show: Callable[[str], None] = lambda _line: None,
) -> Tally:
    """Live through the seeds from `first` on, in `jobs` processes; `show` is told how it goes."""
    total = Tally()
    began_s = shown_s = time.monotonic()
    batches = [
        Batch(at, min(CHUNK, first + seeds - at), without) for at in range(first, first + seeds, CHUNK)
    ]
    for tally in _results(batches, jobs):
        for seed, what in tally.violations:
            show(f"seed {seed}: {what}")
        total.add(tally)
        now_s = time.monotonic()
        if now_s - shown_s >= SHOWN_EVERY_S:
            shown_s = now_s
            show(progress(total, seeds, now_s - began_s))
    return total


def _results(batches: list[Batch], jobs: int) -> Iterator[Tally]:
    """In processes of their own, which end without taking their garbage apart: a fifth of the time."""
    context = multiprocessing.get_context("fork")
    waiting, running = deque(batches), dict[Connection, Batch]()
    while waiting or running:
        while waiting and len(running) < jobs:
            batch = waiting.popleft()
            mine, theirs = context.Pipe(duplex=False)
            context.Process(target=_tell, args=(batch, theirs), daemon=True).start()
            theirs.close()
            running[mine] = batch
        for answer in wait(list(running)):
            assert isinstance(answer, Connection)
            batch = running.pop(answer)
            try:
                yield answer.recv()
            except EOFError:
                raise RuntimeError(
                    f"a process died in one of the lives {batch.first} to {batch.first + batch.count - 1}"
                ) from None
            finally:
                answer.close()


def _tell(batch: Batch, answer: Connection) -> None:
    answer.send(live_batch(batch))


def progress(total: Tally, seeds: int, took_s: float) -> str:
    """How far it is, in one line."""
    rate = total.lives / max(took_s, 1e-9)
    left_s = (seeds - total.lives) / max(rate, 1e-9)
    return (
        f"{total.lives} of {seeds} lives, {rate:.0f} a second, {len(total.violations)} violations, "
        f"{total.simulated_s / 3600:.1f} h simulated, {total.acked} writes acknowledged, {left_s:.0f} s left"
    )


def write_result(total: Tally, first: int, took_s: float, file: Path) -> None:
    """`build/simulate.json`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "seeds": total.lives,
        "from": first,
        "violations": len(total.violations),
        "violating_seeds": [{"seed": seed, "what": what} for seed, what in sorted(total.violations)],
        "lives_per_second": round(total.lives / max(took_s, 1e-9), 1),
        "lives_per_cpu_second": round(total.lives / max(total.cpu_s, 1e-9), 1),
        "simulated_hours": round(total.simulated_s / 3600, 2),
        "writes_acknowledged": total.acked,
        "coverage": dict(sorted(total.coverage.items())),
    }
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
