"""A server process of its own, to be killed: `python serve_file.py BACKING MOUNT_DIR NAME`. Prints `ready`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[3]), str(Path(__file__).resolve().parents[3] / "agent")]

from tests.integration.exports.serving import Serving  # noqa: E402


def main() -> None:
    """Serve until killed."""
    backing, mount_dir, name = sys.argv[1:]
    Serving(Path(backing), Path(mount_dir), name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main()
