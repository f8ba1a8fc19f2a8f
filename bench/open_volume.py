"""A large volume as a worker finds it after a crash, and what a worker does with it before it can answer.

python -m bench.open_volume make DIRECTORY BYTES
python -m bench.open_volume open DIRECTORY
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

from twinhull.core.identity import Id
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES
from twinhull.core.mirror import Mirror
from twinhull.core.mirror_types import ResyncSettings
from twinhull.storage.platform import platform_directory
from twinhull.storage.volume import Volume

DIRTY_BLOCKS = 2000
WRITE_TIMEOUT_S = 10.0


def make(directory: Path, size_bytes: int) -> None:
    """A volume with its log full and marks all over it, whose process is killed."""
    rng = random.Random(1)
    volume = Volume.create(platform_directory(directory), size_bytes=size_bytes, replica_id=Id(b"r" * 16))
    extents = sorted(rng.sample(range(size_bytes // EXTENT_BYTES), volume.log_capacity))
    volume.log_commit(add=extents)
    bits = volume.bits()
    for block in rng.sample(range(size_bytes // BLOCK_BYTES), DIRTY_BLOCKS):
        bits.set_range(block, 1)
    volume.store_bits(bits.pages())
    for extent in extents:
        volume.write(extent * EXTENT_BYTES, bytes(4096))
    print("made", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def open_it(directory: Path) -> None:
    """Everything between a worker's start and its first answer that grows with the volume."""
    import twinhull.worker.parts  # noqa: F401 - what a worker has to load

    volume = Volume.open(platform_directory(directory))
    mirror = Mirror(
        volume.size_bytes,
        volume.bits(),
        volume.log_extents(),
        volume.log_capacity,
        WRITE_TIMEOUT_S,
        ResyncSettings(),
    )
    print("open" if mirror.has_marks else "the marks are gone", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        open_it(Path(sys.argv[2]))
