# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Small bundles for the tests of the check, whole and spoiled."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

VERSION = "1.2.3"
TOP = f"twinhull-bundle-{VERSION}"


def manifest(**differs: Any) -> bytes:
    """bundle.yml of a bundle for both platforms."""
    words = {
        "format": 1,
        "version": VERSION,
        "created": "2025-01-31T12:00:00+00:00",
        "inputs": "0" * 64,
        "platforms": ["linux", "windows"],
        "pythons": {"linux": ["3.11", "3.12"], "windows": ["3.11"]},
        **differs,
    }
    return yaml.safe_dump({key: value for key, value in words.items() if value is not None}).encode()


def content(**differs: bytes | None) -> dict[str, bytes]:
    """Every file of a small bundle but SHA256SUMS; `differs` replaces by name, None removes."""
    files: dict[str, bytes | None] = {
        "bundle.yml": manifest(),
        "collections/requirements.yml": b"collections: []\n",
        "collections/twinhull-ha-1.2.3.tar.gz": b"ours",
        "pip/pip-25.0-py3-none-any.whl": b"pip",
        "python/windows/python-3.11.9-embed-amd64.zip": b"python",
        "requirements-linux.txt": b"twinhull==1.2.3\n",
        "requirements-windows.txt": b"twinhull==1.2.3\n",
        f"wheels/linux/twinhull-{VERSION}-py3-none-any.whl": b"agent",
        "wheels/linux/cffi-1.0-cp311-cp311-manylinux.whl": b"cffi for linux",
        f"wheels/windows/twinhull-{VERSION}-py3-none-any.whl": b"agent",
        "wheels/windows/cffi-1.0-cp311-cp311-win_amd64.whl": b"cffi for windows",
        **differs,
    }
    return {name: raw for name, raw in files.items() if raw is not None}


def sums(files: Mapping[str, bytes]) -> bytes:
    """SHA256SUMS of some files."""
    lines = (f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in sorted(files.items()))
    return "".join(lines).encode()


def sealed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with their SHA256SUMS."""
    return {**files, "SHA256SUMS": sums(files)}


def write(
    path: Path,
    files: Mapping[str, bytes],
    top: str = TOP,
    more: Callable[[tarfile.TarFile], None] = lambda _archive: None,
) -> Path:
    """An archive of some files below a top folder.

    Args:
        path: of the archive.
        files: content by path below the top folder.
        top: the top folder.
        more: adds further members.
    """
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        more(archive)
    path.write_bytes(gzip.compress(raw.getvalue()))
    return path
