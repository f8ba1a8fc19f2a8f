"""What a fleet costs the control node: playbooks over stand-in Windows hosts, time, processor seconds and memory.

    python -m bench.fleet                        100 sites: status, swap (planned), and what a host costs
    python -m bench.fleet --sites 10 --install   also install.yml in check mode (some 100 tasks on each host)

Hosts and control node share this machine's processors, so the wall time holds the stand-ins' work as well; the seconds
of both are told apart. Figures go to build/fleet.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.standin import bundle
from tests.standin.fleet import Fleet, install_by_hand, raise_file_limit

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.25
LIMIT_S = 3600.0
RINGS = ("pilot", "early", "broad")
PIECES = {
    "a task without a connection": "ansible.builtin.debug: {msg: x}",
    "a raw command": "ansible.builtin.raw: hostname",
    "a module": "ansible.windows.win_ping:",
    "the status of a node": "twinhull.ha.module_info:",
}
"""What a play does once on each host, to see what of it costs."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run.

    Args:
        hosts, forks: of the run.
        exit_code: of ansible-playbook.
        wall_s: from start to end.
        control_cpu_s: processor seconds of ansible-playbook with all its children.
        standin_cpu_s: processor seconds of the stand-in hosts.
        peak_mib: most memory at once of ansible-playbook with all its children (proportional set size).
        main_peak_mib: of its main process alone (resident).
        load: of the machine before the run, from others as well.
        problems: what the stand-in could not judge.
    """

    name: str
    hosts: int
    forks: int
    exit_code: int
    wall_s: float
    control_cpu_s: float
    standin_cpu_s: float
    peak_mib: float
    main_peak_mib: float
    load: float
    problems: int


def _tree(root: int) -> list[int]:
    """A process and all its descendants, as far as they live."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it ended meanwhile
    return found


def _memory_kib(pid: int, field: str, file: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


class Sampler(threading.Thread):
    """Watches the memory of this process's children while a play runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kib = 0
        self.main_peak_kib = 0
        self._done = threading.Event()

    def run(self) -> None:
        """Sample until `stop`."""
        own = os.getpid()
        while not self._done.wait(SAMPLE_S):
            pids = [pid for pid in _tree(own) if pid != own]
            self.peak_kib = max(self.peak_kib, sum(_memory_kib(pid, "Pss:", "smaps_rollup") for pid in pids))
            if pids:
                self.main_peak_kib = max(self.main_peak_kib, _memory_kib(min(pids), "VmHWM:", "status"))

    def stop(self) -> None:
        """End and wait for it."""
        self._done.set()
        self.join()


@contextmanager
def _sampled() -> Iterator[Sampler]:
    sampler = Sampler()
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


def measure(
    fleet: Fleet,
    name: str,
    playbook: str | Path,
    *options: str,
    forks: int,
    extra: Mapping[str, Any] | None = None,
) -> Figures:
    """Run one playbook over the whole fleet.

    Args:
        name: for the table.
        playbook: path in the repository.
        options: of ansible-playbook.
        forks: how many hosts at once.
        extra: extra variables.
    """
    hosts = 2 * len(fleet.sites)
    load, own_s = os.getloadavg()[0], time.process_time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun_s = time.monotonic()
    with _sampled() as sampler:
        run = fleet.play(playbook, "--forks", str(forks), *options, extra=extra, timeout_s=LIMIT_S)
    wall_s = time.monotonic() - begun_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = Figures(
        name=name,
        hosts=hosts,
        forks=forks,
        exit_code=run.exit_code,
        wall_s=round(wall_s, 1),
        control_cpu_s=round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        standin_cpu_s=round(time.process_time() - own_s, 1),
        peak_mib=round(sampler.peak_kib / 1024, 1),
        main_peak_mib=round(sampler.main_peak_kib / 1024, 1),
        load=round(load, 1),
        problems=len(fleet.problems()),
    )
    print(row(figures), flush=True)
    if run.exit_code:
        told = [line for line in run.text.splitlines() if line.startswith("left out")]
        print("\n".join(told[:3] or run.text.splitlines()[-5:]), flush=True)
    return figures


HEADER = f"{'':34} {'hosts':>5} {'forks':>5} {'wall':>8} {'control':>9} {'stand-ins':>9} {'memory':>9}  exit"


def row(figures: Figures) -> str:
    """One line of the table."""
    return (
        f"{figures.name:34} {figures.hosts:5} {figures.forks:5} {figures.wall_s:6.1f} s {figures.control_cpu_s:7.1f} s "
        f"{figures.standin_cpu_s:7.1f} s {figures.peak_mib:5.0f} MiB  {figures.exit_code}"
    )


def _pieces(fleet: Fleet, directory: Path, forks: int) -> Iterator[Figures]:
    for number, (name, task) in enumerate(PIECES.items()):
        play = directory / f"piece{number}.yml"
        play.write_text(f"- hosts: twinhull\n  gather_facts: false\n  tasks:\n    - {task}\n")
        yield measure(fleet, name, play, forks=forks)


def _install_checked(directory: Path, sites: int, forks: int, *, tls: bool) -> Figures:
    """install.yml in check mode over bare hosts."""
    with Fleet(directory / "bare", tls=tls) as fleet:
        for number in range(sites):
            fleet.add_site(f"bare-{number:04d}")
        extra = {
            "twinhull_bundle": str(bundle.make(directory, "0.1.0")),
            "agent_part_dir": str(directory / "parts"),
            "twinhull_ca_dir": str(directory / "pki") + "/{{ twinhull_site }}",
            "twinhull_output_dir": str(directory / "reports"),
        }
        return measure(
            fleet, "install --check, bare hosts", "playbooks/install.yml", "--check", forks=forks, extra=extra
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=100, help="of two hosts each (default: 100)")
    parser.add_argument(
        "--forks", type=int, nargs="+", default=[20], help="one or more numbers (default: 20)"
    )
    parser.add_argument("--install", action="store_true", help="also install.yml in check mode")
    parser.add_argument("--no-pieces", action="store_true", help="leave out what a single task costs")
    parser.add_argument("--http", action="store_true", help="WinRM without TLS")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "fleet.json")
    return parser.parse_args()


def main() -> int:
    """Measure, print a table, write the JSON. Returns 0 when every play ended well."""
    args = _arguments()
    raise_file_limit()
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        directory = Path(name)
        with Fleet(directory / "fleet", tls=not args.http) as fleet:
            for number in range(args.sites):
                tags = {"ring": RINGS[min(number // 10, 2)]}
                install_by_hand(fleet.add_site(f"site-{number:04d}", tags=tags))
            extra = {"twinhull_output_dir": str(directory / "reports")}
            print(HEADER)
            for forks in args.forks:
                found.append(measure(fleet, "status", "playbooks/status.yml", forks=forks, extra=extra))
            forks = args.forks[0]
            swap = {**extra, "twinhull_empty": "a", "twinhull_sites_at_once": args.sites}
            found.append(
                measure(
                    fleet, "swap, planned (--check)", "playbooks/swap.yml", "--check", forks=forks, extra=swap
                )
            )
            if not args.no_pieces:
                found += _pieces(fleet, directory, forks)
        if args.install:
            found.append(_install_checked(directory, args.sites, args.forks[0], tls=not args.http))
    machine = {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": machine,
        "transport": "http" if args.http else "https",
        "runs": [asdict(item) for item in found],
    }
    args.out.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if all(item.exit_code == 0 and not item.problems for item in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
