"""What the chaos rounds run in the mirrored folder: the journaled writer, the deep one, and fio with verification.

    python -m tests.chaos.load REPORTS DEEP_REPORTS

All are one resource: the module starts and stops them together. When one of them meets an error of the disk, all end.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integration.failover.writer import Writer

from .deep import DEPTHS, DeepWriter

DEEP_PAUSE_S = 0.01
FIO_BLOCKS = 512
FIO_WRITES_PER_S = 250
FIO_PAUSE_S = 0.5
WRONG = ("verify:", "crc32c", "bad magic", "Invalid or incomplete multibyte")


def complaint(status: int, text: str) -> str:
    """What fio found wrong in the data, one word; empty when it failed for another reason, or not at all."""
    wrong = [line for line in text.splitlines() if any(words in line for words in WRONG)]
    return "-".join(wrong[0].split()) if status and wrong else ""


def write_deeply(writer: DeepWriter) -> None:
    """The deep writer's thread."""
    with ThreadPoolExecutor(max(DEPTHS)) as pool:
        try:
            for _ in writer.batches(pool):
                time.sleep(DEEP_PAUSE_S)
        except OSError as error:
            sys.stderr.write(f"the deep writer ends: {error}\n")
            os._exit(1)


class Fio:
    """fio over one file, every block checksummed, at one depth after the other.

    Each block of the file is at any moment one that fio wrote, whole, once the file was laid.

    Args:
        file: in the folder.
        deep: tells of what fio says.
        laid: the file was written whole before.
    """

    def __init__(self, file: Path, deep: DeepWriter, *, laid: bool) -> None:
        self._file = file
        self._deep = deep
        self._laid = laid
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._over = False

    def run(self) -> None:
        """The thread: check what the last run left, then write and check for ever."""
        if self._laid:
            self._once("--rw=read")
        while not self._over:
            words = [f"--iodepth={random.choice(DEPTHS)}", f"--rate_iops={FIO_WRITES_PER_S}"]
            done = self._once("--rw=randwrite", f"--randseed={random.randrange(1 << 30)}", *words)
            if done and not self._laid:
                self._laid = True
                self._deep.tell("laid", self._deep.run_name.hex())
            time.sleep(FIO_PAUSE_S)

    def end(self) -> None:
        """No fio runs any more, for good."""
        with self._lock:
            self._over = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _once(self, *words: str) -> bool:
        with self._lock:
            if self._over:
                return False
            self._process = subprocess.Popen(
                [*arguments(self._file), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        told, _ = self._process.communicate()
        wrong = complaint(self._process.returncode, told)
        if wrong:
            self._deep.tell("fio", self._deep.run_name.hex(), wrong)
        return self._process.returncode == 0


def arguments(file: Path) -> list[str]:
    """fio's words for the file; what it does to it is to be added."""
    argv = ["fio", "--thread", "--name=chaos", f"--filename={file}", f"--size={FIO_BLOCKS * 4}k", "--bs=4k"]
    return [*argv, "--direct=1", "--verify=crc32c", "--verify_fatal=1", "--ioengine=libaio", "--end_fsync=1"]


def main() -> None:
    """Read the environment that the module's resource gives."""
    folder, node = Path(os.environ["TWINHULL_FOLDER"]), os.environ["TWINHULL_NODE"]
    deep_reports = Path(sys.argv[2])
    laid = any(line.startswith("laid ") for line in deep_reports.read_text(encoding="ascii").splitlines())
    try:
        writer = Writer(folder, Path(sys.argv[1]), node)
    except OSError as error:  # a folder that became read-only with its disk's errors
        raise SystemExit(f"nothing can be written: {error}") from error
    signal.signal(signal.SIGTERM, lambda *_: writer.end())
    deep = DeepWriter(folder, os.open(deep_reports, os.O_WRONLY | os.O_APPEND), node)
    fio = Fio(folder / "fio.dat", deep, laid=laid)
    threading.Thread(target=write_deeply, args=(deep,), daemon=True).start()
    threading.Thread(target=fio.run, daemon=True).start()
    status = 0
    try:
        writer.run()
    except SystemExit:
        status = 1
    fio.end()
    os._exit(status)


if __name__ == "__main__":
    main()
