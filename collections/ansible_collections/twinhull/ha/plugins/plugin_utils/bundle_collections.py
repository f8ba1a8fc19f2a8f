# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The collections of a bundle: ours built, those that it needs packed from where they are installed."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import yaml

from .bundle import BundleError, Content, write_tar

MANIFEST, FILES, GALAXY = "MANIFEST.json", "FILES.json", "galaxy.yml"
OURS = "twinhull.ha"


def dependencies_of(collection: Path) -> list[str]:
    """The names of the collections that one needs, from its galaxy.yml or, installed, its MANIFEST.json.

    Raises:
        BundleError: it has neither.
    """
    try:
        if (collection / GALAXY).is_file():
            words = yaml.safe_load((collection / GALAXY).read_text(encoding="utf-8"))
            return sorted(words.get("dependencies") or {})
        info = json.loads((collection / MANIFEST).read_text(encoding="utf-8"))["collection_info"]
        return sorted(info.get("dependencies") or {})
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        raise BundleError(f"{collection}: this is no collection ({error}). Install it again.") from error


def installed(name: str) -> Path:
    """Where Ansible finds a collection.

    Raises:
        BundleError: it is not installed here.
    """
    try:
        module = importlib.import_module(f"ansible_collections.{name}")
    except ImportError as error:
        raise BundleError(
            f"The collection {name}, which {OURS} needs, is not installed here: ansible-galaxy collection install {name}"
        ) from error
    return Path(next(iter(module.__path__)))


def needed(collection: Path) -> dict[str, Path]:
    """Every collection that one needs, directly or through others, and where it is installed."""
    found: dict[str, Path] = {}
    waiting = dependencies_of(collection)
    while waiting:
        name = waiting.pop()
        if name not in found and name != OURS:
            found[name] = installed(name)
            waiting += dependencies_of(found[name])
    return found


def versions(paths: dict[str, Path]) -> dict[str, str]:
    """The installed versions of some collections."""
    return {
        name: json.loads((path / MANIFEST).read_text(encoding="utf-8"))["collection_info"]["version"]
        for name, path in paths.items()
    }


def pack_installed(root: Path) -> tuple[str, bytes]:
    """An archive that `ansible-galaxy collection install` takes, of an installed collection as it lies there.

    Distributions of Ansible leave tests out of collections, so the list of files is written anew.

    Returns:
        Its file name and its bytes.
    """
    info = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    files: dict[str, Content] = {}
    entries: list[dict[str, Any]] = [_entry(".", None)]
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name in (MANIFEST, FILES) or "__pycache__" in path.parts or path.suffix == ".pyc":
            continue
        if path.is_dir():
            entries.append(_entry(name, None))
            files[f"{name}/"] = b""
        elif path.is_file():
            raw = path.read_bytes()
            files[name] = raw
            entries.append(_entry(name, hashlib.sha256(raw).hexdigest()))
    listing = json.dumps({"files": entries, "format": 1}, indent=1).encode()
    info["file_manifest_file"] = {
        **info["file_manifest_file"],
        "chksum_type": "sha256",
        "chksum_sha256": hashlib.sha256(listing).hexdigest(),
    }
    files[FILES] = listing
    files[MANIFEST] = json.dumps(info, indent=1).encode()
    about = info["collection_info"]
    return f"{about['namespace']}-{about['name']}-{about['version']}.tar.gz", _packed(files)


def _entry(name: str, sha256: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": "dir" if sha256 is None else "file",
        "chksum_type": None if sha256 is None else "sha256",
        "chksum_sha256": sha256,
        "format": 1,
    }


def _packed(files: dict[str, Content]) -> bytes:
    stream = io.BytesIO()
    write_tar(stream, files)
    return stream.getvalue()


def build_ours(root: Path) -> tuple[str, bytes]:
    """Our own collection's archive, from its sources or from where it is installed.

    Raises:
        BundleError: ansible-galaxy cannot build it; its words.
    """
    if not (root / GALAXY).is_file():
        return pack_installed(root)
    with tempfile.TemporaryDirectory(prefix="twinhull-collection-") as temporary:
        command = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", str(root)]
        done = subprocess.run(
            [*command, "--output-path", temporary],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=temporary,
        )
        archives = sorted(Path(temporary).glob("*.tar.gz"))
        if done.returncode or len(archives) != 1:
            raise BundleError(
                f"{root}: the collection cannot be built: {done.stderr.strip() or done.stdout.strip()}"
            )
        return archives[0].name, _packed(_unpacked(archives[0]))


def _unpacked(archive: Path) -> dict[str, Content]:
    with tarfile.open(archive, "r:gz") as packed:
        files: dict[str, Content] = {}
        for member in packed:
            if member.isdir():
                files[f"{member.name}/"] = b""
            content = packed.extractfile(member) if member.isreg() else None
            if content is not None:
                files[member.name] = content.read()
        return files


def collect(ours: Path) -> dict[str, Content]:
    """The bundle's folder `collections`: the archives, and requirements.yml that installs them without Galaxy.

    In that folder: `ansible-galaxy collection install --offline -r requirements.yml`.
    """
    archives = [build_ours(ours), *(pack_installed(path) for _name, path in sorted(needed(ours).items()))]
    names = [{"name": name, "type": "file"} for name, _raw in archives]
    text = yaml.safe_dump({"collections": names}, sort_keys=False)
    header = "# In this folder: ansible-galaxy collection install --offline -r requirements.yml\n"
    files: dict[str, Content] = {f"collections/{name}": raw for name, raw in archives}
    files["collections/requirements.yml"] = (header + text).encode()
    return files
