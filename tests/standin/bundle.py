"""A small bundle of any version for stand-in hosts: the true layout and checksums, wheels that hold next to nothing."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import yaml

PYTHON = "3.11"
DEPENDENCIES = {"cryptography": "50.0.2", "rpyc": "6.0.2"}
MAIN = "sys.exit('a stand-in')\n"


def make(
    directory: Path, version: str, platforms: tuple[str, ...] = ("windows",), *, broken: bool = False
) -> Path:
    """Write `twinhull-bundle-VERSION.tar.gz`.

    Args:
        directory: where to.
        version: of the agent in it.
        platforms: those that it is for.
        broken: its agent does not start.
    """
    files: dict[str, bytes] = {
        "pip/pip-25.0-py3-none-any.whl": _wheel("pip", "25.0", {"pip/__main__.py": MAIN}),
        "collections/requirements.yml": b"---\ncollections: []\n",
    }
    if "windows" in platforms:
        files["python/windows/python-3.11.9-embed-amd64.zip"] = _zip(
            {"python.exe": b"MZ", "python311.dll": b"MZ", "python311._pth": b"python311.zip\r\n.\r\n"}
        )
    for platform in platforms:
        wheels = {
            f"{name}-{number}-py3-none-any.whl": _wheel(name, number, {f"{name}/__init__.py": ""})
            for name, number in DEPENDENCIES.items()
        }
        wheels[f"twinhull-{version}-py3-none-any.whl"] = own_wheel(version, broken=broken)
        lines = [_requirement(name, content) for name, content in sorted(wheels.items())]
        files[f"requirements-{platform}.txt"] = "".join(lines).encode()
        files |= {f"wheels/{platform}/{name}": content for name, content in wheels.items()}
    files["bundle.yml"] = yaml.safe_dump(
        {
            "format": 1,
            "version": version,
            "created": "2030-01-01T00:00:00+00:00",
            "inputs": hashlib.sha256(version.encode()).hexdigest(),
            "platforms": list(platforms),
            "pythons": {platform: [PYTHON] for platform in platforms},
        }
    ).encode()
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())
    )
    files["SHA256SUMS"] = sums.encode()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"twinhull-bundle-{version}.tar.gz"
    _write(path, f"twinhull-bundle-{version}", files)
    return path


def own_wheel(version: str, *, broken: bool = False) -> bytes:
    """The wheel of the agent in such a bundle, the same each time."""
    text = f'"""Stand-in."""\n\n__version__ = "{version}"\n' + ("BROKEN = True\n" if broken else "")
    return _wheel("twinhull", version, {"twinhull/__init__.py": text})


def _write(path: Path, top: str, files: dict[str, bytes]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _requirement(wheel: str, content: bytes) -> str:
    name, version = wheel.split("-")[:2]
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _wheel(name: str, version: str, files: dict[str, str]) -> bytes:
    """A wheel that pip takes. Source: the binary distribution format, packaging.python.org."""
    info = f"{name}-{version}.dist-info"
    content = {place: text.encode() for place, text in files.items()}
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    content[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = io.StringIO()
    writer = csv.writer(record, lineterminator="\n")
    for place, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([place, f"sha256={digest}", len(data)])
    writer.writerow([f"{info}/RECORD", "", ""])
    content[f"{info}/RECORD"] = record.getvalue().encode()
    return _zip(content)
