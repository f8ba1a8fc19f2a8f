"""`make chaos`: rounds of random faults on a real pair under load; exit status 0 when every promise was kept."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.integration.failover.pair import TIMEOUT_S
from tests.lab import LabError
from tests.lab.console import complain, say
from tests.lab.lab import check_machine, sweep_stale

from .run import run

INTERRUPTED = 130


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="chaos", description="Random faults on a real pair under load.")
    parser.add_argument("--rounds", type=int, default=15, help="how many (default: 15)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the first round (default: a new one, told)"
    )
    parser.add_argument(
        "--build", type=Path, default=Path("build"), help="directory for lab, result and logs"
    )
    words = parser.parse_args()
    seed = random.SystemRandom().randrange(1, 1_000_000) if words.seed is None else words.seed
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    say(f"chaos: {words.rounds} rounds from seed {seed}, time-out {TIMEOUT_S:g} s")
    try:
        check_machine(libvirt=False)
        sweep_stale()
        words.build.mkdir(parents=True, exist_ok=True)
        tally = run(words.build.resolve(), words.rounds, seed, TIMEOUT_S, say)
    except LabError as error:
        complain(f"chaos: {error}")
        return 1
    except KeyboardInterrupt:
        complain("chaos: interrupted; everything was removed, the rounds so far are in build/chaos.json")
        return INTERRUPTED
    say(tally.sentence())
    say(f"The figures are in {words.build / 'chaos.json'}.")
    return 1 if tally.failed_seeds else 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
