"""A server process of its own, to be killed: `python serve_file.py BACKING PORT`. Prints the port when it serves."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[4]), str(Path(__file__).resolve().parents[4] / "agent")]

from tests.integration.exports.iscsi.serving import Serving  # noqa: E402


def main() -> None:
    """Serve until killed."""
    serving = Serving(Path(sys.argv[1]), port=int(sys.argv[2]))
    sys.stdout.write(f"{serving.port}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main()
