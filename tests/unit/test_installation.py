"""What was started from one version goes on with it when the link is switched to another."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import twinhull
from twinhull.installation import own_python

PROBE = """
import sys
from twinhull import installation
installation.pin([__file__])
print("ready", flush=True)
sys.stdin.readline()
import twinhull
import twinhull.agent.supervisor as supervisor
print(supervisor.worker_argv("node.yml", "VM1")[0], twinhull.__version__, supervisor.__file__)
"""


def install(versions: Path, version: str) -> Path:
    """A virtual environment with this package under another number; its dependencies are ours."""
    place = versions / version
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(place)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    package = site / "twinhull"
    shutil.copytree(
        Path(twinhull.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    init = package / "__init__.py"
    init.write_text(init.read_text().replace(f'"{twinhull.__version__}"', f'"{version}"'))
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return place


def switch(current: Path, place: Path) -> None:
    """Have the link point to this version, as an upgrade does it."""
    part = current.with_name("current.part")
    part.symlink_to(place)
    part.replace(current)


def test_a_running_agent_starts_workers_of_its_own_version_though_the_link_points_to_another(
    tmp_path: Path,
) -> None:
    old, new = install(tmp_path / "versions", "1.0.0"), install(tmp_path / "versions", "2.0.0")
    current, probe = tmp_path / "current", tmp_path / "probe.py"
    probe.write_text(PROBE)
    switch(current, old)
    with subprocess.Popen(
        [current / "bin" / "python", probe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "ready\n"
        switch(current, new)
        python, version, loaded = agent.communicate("go on\n")[0].split()
    assert agent.returncode == 0
    assert version == "1.0.0"
    assert Path(loaded).is_relative_to(old)
    worker = [python, "-P", "-c", "import twinhull; print(twinhull.__version__, twinhull.__file__)"]
    version, loaded = subprocess.run(worker, capture_output=True, text=True, check=True).stdout.split()
    assert version == "1.0.0"
    assert Path(loaded).is_relative_to(old)


@pytest.mark.parametrize(
    ("prefix", "executable", "expected"),
    [
        ("current", "current/bin/python3", "versions/1/bin/python3"),
        ("versions/1", "versions/1/bin/python3", "versions/1/bin/python3"),
        ("current/python", "current/python/python.exe", "versions/1/python/python.exe"),
        ("usr", "bin/python3", "bin/python3"),
    ],
)
def test_only_the_way_to_the_environment_is_resolved(
    tmp_path: Path, prefix: str, executable: str, expected: str
) -> None:
    for directory in ("versions/1/bin", "versions/1/python", "usr"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "versions/1/bin/python3").symlink_to(sys.executable)
    (tmp_path / "current").symlink_to(tmp_path / "versions/1")
    assert own_python(str(tmp_path / prefix), str(tmp_path / executable)) == tmp_path / expected
