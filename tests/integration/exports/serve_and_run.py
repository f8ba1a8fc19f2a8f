"""Serves a volume and, in the same process, runs a program that lies on it: what a worker with scripts does.

`python serve_and_run.py BACKING MOUNT_DIR NAME FOLDER`
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[3]), str(Path(__file__).resolve().parents[3] / "agent")]

from tests.integration.exports.serving import Serving  # noqa: E402

from twinhull.attach.linux import LinuxAttacher  # noqa: E402
from twinhull.exports.fuse import sit_under_page_cache  # noqa: E402


def main() -> None:
    """Make a program in the folder, forget what memory holds of it, run it there."""
    backing, mount_dir, name, folder = sys.argv[1:]
    sit_under_page_cache()
    with Serving(Path(backing), Path(mount_dir), name) as serving:
        attacher = LinuxAttacher("m1", Path(folder), lambda: serving.export.path, "ext4")
        attacher.attach(make=True)
        script = Path(folder) / "script"
        script.write_text("#!/bin/sh\necho from the folder\n")
        script.chmod(0o755)
        attacher.detach(forced=False)
        attacher.attach(make=False)
        subprocess.run([str(script)], check=True, cwd=folder)
        attacher.detach(forced=False)


if __name__ == "__main__":
    main()
