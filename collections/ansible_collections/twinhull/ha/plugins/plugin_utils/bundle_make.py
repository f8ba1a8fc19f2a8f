# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Making a bundle (see `bundle`) on a machine with internet: wheels, CPython for Windows, collections.

Everything that is downloaded is locked by hashes that are part of the sources; downloads are kept in a cache directory
and checked again each time.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from .bundle import (
    FORMAT,
    MANIFEST,
    MTIME_S,
    SUMS,
    VERSION,
    Bundle,
    BundleError,
    Content,
    file_sha256,
    own_wheel,
    top_folder,
    verify,
    write_atomically,
    write_tar,
)
from .bundle_collections import collect

PYTHONS = {"linux": ("3.11", "3.12", "3.13"), "windows": ("3.11",)}
PIP_PLATFORMS = {
    "linux": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows": ("win_amd64",),
}
WINDOWS_PYTHON = "python-3.11.9-embed-amd64.zip"
WINDOWS_PYTHON_URL = f"https://www.python.org/ftp/python/3.11.9/{WINDOWS_PYTHON}"
WINDOWS_PYTHON_SHA256 = "009d6bf7e3b2ddca3d784fa09f90fe54336d5b60f0e0f305c37f400bf83cfd3b"
SOURCES = ("agent/twinhull", "pyproject.toml", "README.md", "LICENSE")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*_cache")
VERSION_LINE = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Recipe:
    """What a bundle is made of.

    Attributes:
        source: the checkout (the folder with pyproject.toml).
        locks: the folder with requirements-{linux,windows,pip}.txt and constraints-build.txt.
        cache: where downloads are kept.
        collection: the folder of the collection twinhull.ha.
        platforms: which hosts it installs.
        version: another number for the agent than the checkout's; empty for the checkout's own.
        python_windows: a local file in place of the download; None to download from python.org.
        python_windows_sha256: what CPython for Windows must be.
    """

    source: Path
    locks: Path
    cache: Path
    collection: Path
    platforms: tuple[str, ...]
    version: str = ""
    python_windows: Path | None = None
    python_windows_sha256: str = WINDOWS_PYTHON_SHA256


def source_version(source: Path) -> str:
    """The agent's version as its sources say it.

    Raises:
        BundleError: there are no sources of Twinhull, or no version in them.
    """
    file = source / "agent/twinhull/__init__.py"
    try:
        match = VERSION_LINE.search(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{source}: there are no sources of Twinhull here ({error.strerror}: {file}). "
            "Name the checkout with -e bundle_source=PATH."
        ) from error
    if match is None:
        raise BundleError(f'{file}: it has no line __version__ = "...". Take an unchanged checkout.')
    return check_version(match[1])


def check_version(version: str) -> str:
    """A version that sorts and that is safe in names of files.

    Raises:
        BundleError: it is none.
    """
    if VERSION.fullmatch(version) is None:
        raise BundleError(f"{version!r} is no version: write for example 1.4.2 or 1.5.0rc1.")
    return version


def tree_sha256(root: Path, names: tuple[str, ...]) -> str:
    """One digest over the paths and contents below some folders, caches left out."""
    digest = hashlib.sha256()
    for name in names:
        top = root / name
        for path in sorted([top] if top.is_file() else top.rglob("*")):
            hidden = any(
                part == "__pycache__" or part.endswith("_cache") for part in path.relative_to(root).parts
            )
            if path.is_file() and not hidden and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def inputs_sha256(recipe: Recipe, version: str, dependencies: Mapping[str, str]) -> str:
    """One digest over everything that decides a bundle's content.

    Args:
        recipe: what it is made of.
        version: the agent's version in it.
        dependencies: the versions of the collections that ours needs.
    """
    facts = {
        "format": FORMAT,
        "version": version,
        "platforms": sorted(recipe.platforms),
        "pythons": PYTHONS,
        "source": tree_sha256(recipe.source, SOURCES),
        "locks": tree_sha256(recipe.locks, (".",)),
        "collection": tree_sha256(recipe.collection, (".",)),
        "dependencies": dict(sorted(dependencies.items())),
        "python_windows": recipe.python_windows_sha256 if "windows" in recipe.platforms else "",
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_current(archive: Path, inputs: str) -> bool:
    """Whether an archive is whole and was made from the same inputs."""
    if not archive.is_file():
        return False
    try:
        return verify(archive).inputs == inputs
    except BundleError:
        return False


# ---- wheels ----------------------------------------------------------------------------------------------------


def _pip(arguments: list[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    """Run this Python's pip.

    Raises:
        BundleError: with pip's last words.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        words = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise BundleError(
            f"{what} failed: {words} This step needs internet (or a pip configured for your mirror) on the control node."
        )


def agent_wheel(recipe: Recipe, version: str) -> Path:
    """Our wheel, built from a copy of the sources in which the version is set."""
    key = hashlib.sha256(f"{tree_sha256(recipe.source, SOURCES)} {version}".encode()).hexdigest()[:16]
    directory = recipe.cache / "agent" / key
    wheel = directory / Path(own_wheel("linux", version)).name
    if wheel.is_file():
        return wheel
    with tempfile.TemporaryDirectory(prefix="twinhull-bundle-") as temporary:
        copy, built = Path(temporary) / "source", Path(temporary) / "wheels"
        for name in SOURCES:
            origin, target = recipe.source / name, copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, target, ignore=NOT_SOURCES)
            else:
                shutil.copyfile(origin, target)
        init = copy / "agent/twinhull/__init__.py"
        text = VERSION_LINE.sub(f'__version__ = "{version}"', init.read_text(encoding="utf-8"))
        init.write_text(text, encoding="utf-8")
        constraints = str(recipe.locks / "constraints-build.txt")
        _pip(
            ["wheel", "--no-deps", "--wheel-dir", str(built), str(copy)],
            f"{recipe.source}: building the agent's wheel",
            {
                "SOURCE_DATE_EPOCH": str(MTIME_S),
                "PIP_CONSTRAINT": constraints,
                "PIP_BUILD_CONSTRAINT": constraints,
            },
        )
        directory.mkdir(parents=True, exist_ok=True)
        raw = (built / wheel.name).read_bytes()
        write_atomically(wheel, lambda stream: _write(stream, raw))
    return wheel


def _write(stream: IO[bytes], raw: bytes) -> None:
    stream.write(raw)


def locked_hashes(lock: Path) -> set[str]:
    """Every SHA-256 that a requirements file allows.

    Raises:
        BundleError: it cannot be read, or locks nothing.
    """
    try:
        hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.read_text(encoding="utf-8")))
    except OSError as error:
        raise BundleError(
            f"{lock}: the lock cannot be read ({error.strerror}). Take a whole checkout."
        ) from error
    if not hashes:
        raise BundleError(f"{lock}: the lock has no hashes. Take an unchanged checkout.")
    return hashes


def download(lock: Path, cache: Path, pythons: tuple[str, ...], platforms: tuple[str, ...]) -> list[Path]:
    """The wheels of a lock for some versions of CPython, from the cache when they are all there and whole.

    Args:
        lock: a requirements file with hashes.
        cache: where they are kept.
        pythons: versions such as `3.11`.
        platforms: pip's names of the platform; empty for pure Python.

    Raises:
        BundleError: pip failed, or a file in the cache is not what the lock names.
    """
    key = hashlib.sha256(f"{file_sha256(lock)} {pythons} {platforms}".encode()).hexdigest()[:16]
    directory = cache / f"{lock.stem}-{key}"
    allowed = locked_hashes(lock)
    complete = directory / "complete"
    if not complete.is_file():
        for python in pythons:
            chosen = [word for name in platforms for word in ("--platform", name)]
            chosen += ["--implementation", "cp"] if platforms else []
            wanted = ["--python-version", python, "--requirement", str(lock), "--dest", str(directory)]
            _pip(
                [
                    "download",
                    "--quiet",
                    "--only-binary=:all:",
                    "--no-deps",
                    "--require-hashes",
                    *chosen,
                    *wanted,
                ],
                f"{lock.name}: downloading the wheels for Python {python}",
            )
        complete.touch()
    wheels = sorted(directory.glob("*.whl"))
    for wheel in wheels:
        if file_sha256(wheel) not in allowed:
            raise BundleError(f"{wheel}: the cached file is not what {lock.name} names. Delete {directory}.")
    return wheels


def requirements(wheels: Mapping[str, str]) -> str:
    """The requirements file that installs exactly some wheels.

    Args:
        wheels: SHA-256 by name of the wheel.
    """
    hashes: dict[str, list[str]] = {}
    for name in sorted(wheels):
        project, version = name.split("-")[:2]
        hashes.setdefault(f"{project.replace('_', '-').lower()}=={version}", []).append(wheels[name])
    lines = [
        " \\\n    ".join([project, *(f"--hash=sha256:{value}" for value in sorted(set(values)))])
        for project, values in sorted(hashes.items())
    ]
    return "\n".join(lines) + "\n"


# ---- CPython for Windows ---------------------------------------------------------------------------------------


def windows_python(recipe: Recipe) -> Path:
    """The embeddable archive of CPython: the named local file, or python.org's, in both cases checked.

    Raises:
        BundleError: it cannot be had, or its checksum is another.
    """
    path = recipe.python_windows or recipe.cache / WINDOWS_PYTHON
    if recipe.python_windows is None and not path.is_file():
        recipe.cache.mkdir(parents=True, exist_ok=True)
        try:
            with urllib.request.urlopen(WINDOWS_PYTHON_URL, timeout=DOWNLOAD_TIMEOUT_S) as answer:
                write_atomically(path, lambda stream: shutil.copyfileobj(answer, stream))
        except (urllib.error.URLError, OSError) as error:
            raise BundleError(
                f"CPython for Windows cannot be downloaded from {WINDOWS_PYTHON_URL} ({error}). "
                "Fetch it in another way and name it with -e bundle_python_windows=PATH, "
                'or make a bundle without Windows: -e \'{"bundle_platforms": ["linux"]}\'.'
            ) from error
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file. Correct bundle_python_windows.")
    found = file_sha256(path)
    if found != recipe.python_windows_sha256:
        raise BundleError(
            f"{path}: its SHA-256 is {found}, not {recipe.python_windows_sha256}. Take {WINDOWS_PYTHON} of python.org; "
            "if you trust another one, name its checksum with -e bundle_python_windows_sha256=..."
        )
    return path


# ---- the whole -------------------------------------------------------------------------------------------------


def compose(recipe: Recipe, version: str) -> dict[str, Content]:
    """Every file of the bundle but bundle.yml and SHA256SUMS."""
    files: dict[str, Content] = {}
    wheel = agent_wheel(recipe, version)
    for platform in recipe.platforms:
        lock = recipe.locks / f"requirements-{platform}.txt"
        wheels = download(lock, recipe.cache, PYTHONS[platform], PIP_PLATFORMS[platform])
        chosen = {path.name: path for path in (*wheels, wheel)}
        files.update({f"wheels/{platform}/{name}": path for name, path in chosen.items()})
        text = requirements({name: file_sha256(path) for name, path in chosen.items()})
        files[f"requirements-{platform}.txt"] = text.encode()
    for path in download(recipe.locks / "requirements-pip.txt", recipe.cache, ("3.11",), ()):
        files[f"pip/{path.name}"] = path
    if "windows" in recipe.platforms:
        files[f"python/windows/{WINDOWS_PYTHON}"] = windows_python(recipe)
    files.update(collect(recipe.collection))
    return files


def make(recipe: Recipe, archive: Path, version: str, inputs: str) -> Bundle:
    """Make a bundle and check it as those who use it will.

    Args:
        recipe: what it is made of.
        archive: where it goes; it is replaced in one step.
        version: the agent's version in it.
        inputs: as `inputs_sha256` returned it.

    Raises:
        BundleError: some part cannot be had.
    """
    files = compose(recipe, version)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    created = dt.datetime.now(dt.UTC) if epoch is None else dt.datetime.fromtimestamp(int(epoch), dt.UTC)
    manifest = {
        "format": FORMAT,
        "version": version,
        "created": created.isoformat(timespec="seconds"),
        "inputs": inputs,
        "platforms": sorted(recipe.platforms),
        "pythons": {platform: list(PYTHONS[platform]) for platform in sorted(recipe.platforms)},
    }
    files[MANIFEST] = yaml.safe_dump(manifest, sort_keys=False).encode()
    sums = {
        name: hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)
        for name, content in files.items()
    }
    files[SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    top = top_folder(version)
    archive.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(
        archive,
        lambda stream: write_tar(stream, {f"{top}/{name}": content for name, content in files.items()}),
    )
    return verify(archive)
