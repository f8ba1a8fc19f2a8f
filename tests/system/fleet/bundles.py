"""Bundles of this checkout under several version numbers, made by the project's own playbook."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.lab.commands import LabError, run

from .fleet import REPOSITORY

CACHE = REPOSITORY / "build" / "fleet-bundles"
SOURCES = ("agent", "pyproject.toml", "README.md", "LICENSE")
MAKE_TIMEOUT_S = 600.0
DOES_NOT_START = """\

raise SystemExit("this version of the agent does not start")
"""


def own_version() -> str:
    """The version number of the checkout."""
    text = (REPOSITORY / "agent/twinhull/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise LabError("agent/twinhull/__init__.py has no __version__")
    return found[1]


def later(version: str, patches: int) -> str:
    """The same version with a higher last number."""
    head, _, last = version.rpartition(".")
    return f"{head}.{int(last) + patches}"


def make(version: str, source: Path = REPOSITORY) -> Path:
    """The bundle of a source tree under a version number.

    Args:
        version: the number that it gets.
        source: the tree.

    Raises:
        LabError: the playbook failed; with what it said.
    """
    target = CACHE / version
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    settings = {
        "bundle_version": version,
        "bundle_platforms": "[linux]",
        "bundle_source": str(source),
        "bundle_output_dir": str(target),
    }
    words = "{" + ", ".join(f'"{name}": {_json(value)}' for name, value in settings.items()) + "}"
    ansible = Path(sys.executable).with_name("ansible-playbook")
    run(
        [ansible, "-i", "localhost,", "playbooks/bundle.yml", "-e", words],
        cwd=REPOSITORY,
        timeout_s=MAKE_TIMEOUT_S,
        env={**os.environ, "PATH": f"{ansible.parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
    )
    [bundle] = target.glob("twinhull-bundle-*.tar.gz")
    return bundle


def make_broken(version: str) -> Path:
    """The bundle of a version whose agent ends as soon as it is started; all else of it works."""
    copy = CACHE / "broken-source"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, copy / name)
    main = copy / "agent/twinhull/agent/main.py"
    main.write_text(main.read_text(encoding="utf-8") + DOES_NOT_START, encoding="utf-8")
    return make(version, copy)


def _json(value: str) -> str:
    return value if value.startswith("[") else f'"{value}"'
