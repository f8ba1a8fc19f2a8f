"""`make demo`: two nodes on this machine, a real VM, the loss of its server, and a table of figures."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from . import guest
from .commands import LabError
from .console import complain, say
from .failover import Figures, Story
from .lab import Lab, check_machine, sweep_stale
from .protected import has_room

INTERRUPTED = 130
NEEDED_BYTES = 6 << 30


def main() -> int:
    """Run the demo; the exit status (0: every figure is as promised)."""
    parser = argparse.ArgumentParser(description="Show a VM surviving the loss of its server.")
    parser.add_argument("--build", type=Path, default=Path("build"), help="directory for caches and results")
    build = parser.parse_args().build.resolve()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    begun_s = time.monotonic()
    try:
        figures = _run(build, begun_s)
    except LabError as error:
        complain(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        complain("demo: interrupted; everything was removed")
        return INTERRUPTED
    (build / "demo.json").write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    say(table(figures))
    say(f"The figures are in {build / 'demo.json'}; it took {time.monotonic() - begun_s:.0f} s in all.")
    if figures.records_missing or not figures.replicas_equal:
        complain("demo: acknowledged records are missing or the replicas differ: this is a bug")
        return 1
    return 0


def table(figures: Figures) -> str:
    """The figures for people."""
    mib = 2**20
    share = 100 * figures.resync_bytes / figures.volume_bytes
    rows = (
        ("loss of the primary noticed after", f"{figures.detection_s:.1f} s"),
        ("the VM's program writes again after", f"{figures.recovery_s:.1f} s"),
        ("records acknowledged and checked", f"{figures.records_acknowledged}"),
        ("records missing", f"{figures.records_missing}"),
        ("copied for the returning node", f"{figures.resync_bytes / mib:.1f} MiB"),
        ("of a volume of", f"{figures.volume_bytes / mib:.0f} MiB ({share:.2f} %)"),
        ("swap home, until the program writes", f"{figures.swap_s:.1f} s"),
        ("copied after the swap", f"{figures.resync_bytes_after_swap} bytes"),
        ("replicas equal byte for byte", "yes" if figures.replicas_equal else "NO"),
    )
    width = max(len(name) for name, _ in rows)
    wide = max(len(value) for _, value in rows)
    rule = f"+-{'-' * width}-+-{'-' * wide}-+"
    lines = [f"| {name:<{width}} | {value:>{wide}} |" for name, value in rows]
    return "\n".join(["", rule, *lines, rule, ""])


def _run(build: Path, begun_s: float) -> Figures:
    def step(text: str) -> None:
        say(f"[{time.monotonic() - begun_s:5.1f} s] {text}")

    check_machine(libvirt=True)
    for name in sweep_stale():
        step(f"Removed lab {name}, which a crashed run had left.")
    build.mkdir(parents=True, exist_ok=True)
    if not has_room(build, NEEDED_BYTES):
        raise LabError(f"{build} needs {NEEDED_BYTES >> 30} GiB of free space for the two nodes' disks")
    step("Building the guest out of Debian's kernel, busybox and the QEMU guest agent.")
    built = guest.build(build / "guest")
    root = build / f"demo-{os.getpid()}"
    lab = Lab(root, f"demo-{os.getpid()}", libvirt=True)
    try:
        step("Making two nodes on this machine: networks, mounts, processes and a libvirt of their own.")
        lab.up()
        return Story(lab, built, step).run()
    except BaseException:
        _keep_logs(lab, build / "demo-failed")
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        step("Removing everything: processes, namespaces, mounts, loop devices, disks.")
        lab.down()
        shutil.rmtree(root, ignore_errors=True)


def _keep_logs(lab: Lab, target: Path) -> None:
    """Keep the nodes' logs of a run that failed."""
    shutil.rmtree(target, ignore_errors=True)
    for name, node in lab.nodes.items():
        for file in (*node.directory.glob("*.log"), *node.directory.glob("disk/var/log/**/*.log")):
            if file.is_file():
                (target / name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / name / file.name)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
