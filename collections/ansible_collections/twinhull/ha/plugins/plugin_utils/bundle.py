# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bundle: one archive from which hosts without internet are installed. Its layout, its check, a platform's part of it.

A bundle is `twinhull-bundle-VERSION.tar.gz` with one top folder, in it `bundle.yml` (what it is), `SHA256SUMS` (every
file but itself), `wheels/PLATFORM/`, `requirements-PLATFORM.txt`, `pip/`, `python/windows/` and `collections/`.
Nothing of it is used before all of it was checked.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

FORMAT = 1
MTIME_S = 315532800  # 1980-01-01, the oldest time that zip archives know
LIMIT_BYTES = 2 << 30
MANIFEST = "bundle.yml"
SUMS = "SHA256SUMS"
PLATFORMS = ("linux", "windows")
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?(?:\.dev\d+)?")
KEPT_WHOLE = (MANIFEST, SUMS)
CHUNK_BYTES = 1 << 20
AGAIN = "Make it again with playbooks/bundle.yml, or copy it again from where it was made."

Content = bytes | Path


class BundleError(Exception):
    """A bundle that cannot be used or made; the message names the file and the remedy."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked.

    Attributes:
        path: the archive.
        version: of the agent in it.
        created: when it was made, ISO 8601.
        inputs: SHA-256 of everything it was made from.
        platforms: those that it installs.
        pythons: for each platform the CPython versions (`3.11`) that its wheels fit.
        files: SHA-256 of every file, by its path below the top folder.
        archive_sha256: of the archive itself.
    """

    path: Path
    version: str
    created: str
    inputs: str
    platforms: tuple[str, ...]
    pythons: Mapping[str, tuple[str, ...]]
    files: Mapping[str, str] = field(repr=False)
    archive_sha256: str

    @property
    def top(self) -> str:
        """The archive's only top folder."""
        return top_folder(self.version)

    def wheel_sha256(self, platform: str) -> str:
        """What tells this build of the agent from another with the same number."""
        return self.files[own_wheel(platform, self.version)]


def top_folder(version: str) -> str:
    """The top folder of a bundle of this version, and its file name without `.tar.gz`."""
    return f"twinhull-bundle-{version}"


def own_wheel(platform: str, version: str) -> str:
    """Where the agent's own wheel is in a bundle."""
    return f"wheels/{platform}/twinhull-{version}-py3-none-any.whl"


def needed_files(version: str, platforms: tuple[str, ...]) -> list[str]:
    """What a bundle cannot do without, beside pip's wheel and CPython for Windows, whose names carry versions."""
    names = [MANIFEST, "collections/requirements.yml"]
    for platform in platforms:
        names += [f"requirements-{platform}.txt", own_wheel(platform, version)]
    return names


def parse_sums(text: str, path: Path) -> dict[str, str]:
    """The content of SHA256SUMS, as written by sha256sum.

    Raises:
        BundleError: a line is not of that form.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or match[2] in sums:
            raise BundleError(f"{path}: line {number} of {SUMS} cannot be read. {AGAIN}")
        sums[match[2]] = match[1]
    return sums


def compare_sums(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Every difference between SHA256SUMS and the archive, in words."""
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} does not belong to it" for name in sorted(found.keys() - wanted.keys())]
    problems += [
        f"{name} has a wrong checksum"
        for name in sorted(wanted)
        if name in found and wanted[name] != found[name]
    ]
    return problems


def parse_manifest(text: str, path: Path) -> dict[str, Any]:
    """The content of bundle.yml, checked word by word.

    Raises:
        BundleError: another format, or a word is missing or wrong.
    """
    try:
        words = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BundleError(f"{path}: {MANIFEST} is not YAML ({error}). {AGAIN}") from error
    if not isinstance(words, dict) or "format" not in words:
        raise BundleError(f"{path}: {MANIFEST} says no format: this is no bundle of Twinhull. {AGAIN}")
    if words["format"] != FORMAT or isinstance(words["format"], bool):
        raise BundleError(
            f"{path}: the bundle has format {words['format']!r}, this collection reads format {FORMAT}. "
            "Use the collection that is in the bundle (folder collections), or make the bundle with this one."
        )
    platforms, pythons = words.get("platforms"), words.get("pythons")
    wrong = [
        word
        for word, good in (
            ("version", _matches(words.get("version"), VERSION)),
            ("created", isinstance(words.get("created"), str)),
            ("inputs", _matches(words.get("inputs"), re.compile("[0-9a-f]{64}"))),
            ("platforms", isinstance(platforms, list) and platforms and set(platforms) <= set(PLATFORMS)),
            (
                "pythons",
                isinstance(pythons, dict)
                and isinstance(platforms, list)
                and all(isinstance(pythons.get(platform), list) for platform in platforms),
            ),
        )
        if not good
    ]
    if wrong:
        raise BundleError(f"{path}: {MANIFEST} is wrong at {', '.join(wrong)}. {AGAIN}")
    return words


def _matches(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def check_name(name: str, path: Path) -> tuple[str, str]:
    """Split a member's name into top folder and the path below it.

    Raises:
        BundleError: the name could leave the folder it is unpacked into.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or any(character in name for character in "\\:\0\n")
        or str(PurePosixPath(name)) != name.rstrip("/")
    ):
        raise BundleError(
            f"{path}: the name {name!r} in it would be unpacked elsewhere. Do not use this file. {AGAIN}"
        )
    return parts[0], "/".join(parts[1:])


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive, with every way of being unreadable told in one sentence."""
    if not path.is_file():
        raise BundleError(
            f"{path}: there is no such bundle. Make it with playbooks/bundle.yml on a machine with internet, "
            "and name it with -e twinhull_bundle=PATH."
        )
    try:
        with tarfile.open(path, "r:gz") as archive:
            yield archive
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise BundleError(f"{path}: the bundle cannot be read ({error}). {AGAIN}") from error


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[str, str, IO[bytes]]]:
    """Every file: top folder, path below it, its content. Refuses all that is neither file nor folder."""
    total_bytes = 0
    for member in archive:
        top, name = check_name(member.name, path)
        if member.isdir():
            continue
        if not member.isreg() or not name:
            raise BundleError(
                f"{path}: {member.name!r} in it is no regular file. Do not use this file. {AGAIN}"
            )
        total_bytes += member.size
        if total_bytes > LIMIT_BYTES:
            raise BundleError(f"{path}: the bundle unpacks to more than {LIMIT_BYTES >> 30} GiB. {AGAIN}")
        content = archive.extractfile(member)
        if content is None:
            raise BundleError(f"{path}: {member.name!r} in it cannot be read. {AGAIN}")
        yield top, name, content


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return _digest(stream)


def verify(path: Path) -> Bundle:
    """Check a bundle completely, without unpacking anything to disk.

    Args:
        path: the archive.

    Raises:
        BundleError: a wrong checksum, a missing or an extra file, a name that leads elsewhere, a link, another format,
            a damaged or truncated archive; the message names the file and the remedy.
    """
    found: dict[str, str] = {}
    tops: set[str] = set()
    texts: dict[str, str] = {}
    with _opened(path) as archive:
        for top, name, content in _members(archive, path):
            if name in found:
                raise BundleError(f"{path}: {name} is in it twice. Do not use this file. {AGAIN}")
            tops.add(top)
            if name in KEPT_WHOLE:
                raw = content.read()
                texts[name] = raw.decode("utf-8", errors="replace")
                found[name] = hashlib.sha256(raw).hexdigest()
            else:
                found[name] = _digest(content)
    for name in KEPT_WHOLE:
        if name not in texts:
            raise BundleError(
                f"{path}: {name} is missing: this is no bundle of Twinhull, or not all of it. {AGAIN}"
            )
    words = parse_manifest(texts[MANIFEST], path)
    wanted = parse_sums(texts[SUMS], path)
    del found[SUMS]
    platforms = tuple(sorted(words["platforms"]))
    problems = compare_sums(wanted, found)
    problems += [
        f"{name} is missing" for name in needed_files(words["version"], platforms) if name not in wanted
    ]
    if tops != {top_folder(words["version"])}:
        problems.append(f"its top folder should be {top_folder(words['version'])}")
    if sum(name.startswith("pip/") for name in wanted) != 1:
        problems.append("there should be one wheel in the folder pip")
    if "windows" in platforms and sum(name.startswith("python/windows/") for name in wanted) != 1:
        problems.append("there should be one archive of CPython in the folder python/windows")
    if problems:
        raise BundleError(f"{path}: {'; '.join(sorted(set(problems)))}. {AGAIN}")
    return Bundle(
        path=path,
        version=words["version"],
        created=words["created"],
        inputs=words["inputs"],
        platforms=platforms,
        pythons={name: tuple(words["pythons"][name]) for name in platforms},
        files=wanted,
        archive_sha256=file_sha256(path),
    )


# ---- a platform's part -----------------------------------------------------------------------------------------


def part_name(name: str, platform: str) -> str:
    """Where a file of the bundle goes in a platform's part; empty when that platform has no use for it."""
    if name == f"requirements-{platform}.txt":
        return "requirements.txt"
    if name.startswith(f"wheels/{platform}/"):
        return "wheels/" + PurePosixPath(name).name
    if name.startswith("pip/"):
        return "pip-of-bundle.whl"
    if name.startswith(f"python/{platform}/"):
        return "python.zip"
    return ""


def write_part(bundle: Bundle, platform: str, directory: Path) -> Path:
    """Write what one platform's hosts need of a checked bundle, as one archive: .tar.gz for Linux, .zip for Windows.

    In it: `pip-of-bundle.whl` (runs as it is: `python pip-of-bundle.whl/pip`), `requirements.txt`, `wheels/`, and for
    Windows `python.zip`.

    Args:
        bundle: as `verify` returned it.
        platform: `linux` or `windows`.
        directory: where the part is kept; one that is there already is used again.

    Raises:
        BundleError: the bundle has nothing for that platform, or changed since it was checked.
    """
    if platform not in bundle.platforms:
        raise BundleError(
            f"{bundle.path}: this bundle is for {', '.join(bundle.platforms)}, not for {platform}. "
            f'Make one with playbooks/bundle.yml -e \'{{"bundle_platforms": ["{platform}"]}}\', or for both.'
        )
    suffix = ".zip" if platform == "windows" else ".tar.gz"
    target = directory / f"twinhull-{bundle.version}-{platform}-{bundle.archive_sha256[:16]}{suffix}"
    if target.is_file():
        return target
    files: dict[str, Content] = {}
    with _opened(bundle.path) as archive:
        for _top, name, content in _members(archive, bundle.path):
            place = part_name(name, platform)
            if place:
                raw = content.read()
                if hashlib.sha256(raw).hexdigest() != bundle.files.get(name):
                    raise BundleError(f"{bundle.path}: {name} changed while the bundle was read. {AGAIN}")
                files[place] = raw
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write = write_zip if platform == "windows" else write_tar
    write_atomically(target, lambda stream: write(stream, files))
    return target


# ---- archives that are the same whenever their content is ----------------------------------------------------------


def write_atomically(target: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name beside it, sync it, and put it in place."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_tar(stream: IO[bytes], files: Mapping[str, Content]) -> None:
    """A .tar.gz: sorted, owner root, one fixed time, no name of the machine that made it. `NAME/` is a folder."""
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=MTIME_S) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            content = files[name]
            raw = content if isinstance(content, bytes) else content.read_bytes()
            member = tarfile.TarInfo(name.rstrip("/"))
            member.size, member.mtime, member.mode = len(raw), MTIME_S, 0o644
            member.uname = member.gname = "root"
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member, io.BytesIO(raw))


def write_zip(stream: IO[bytes], files: Mapping[str, Content]) -> None:
    """A .zip: sorted, one fixed time."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            content = files[name]
            raw = content if isinstance(content, bytes) else content.read_bytes()
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_STORED
            member.external_attr = 0o644 << 16
            archive.writestr(member, raw)
