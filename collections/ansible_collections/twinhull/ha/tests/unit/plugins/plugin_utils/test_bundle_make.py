# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A bundle is made of what is locked, the same whenever nothing differs; collections are packed so that they install."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils import bundle, bundle_collections, bundle_make
from ansible_collections.twinhull.ha.tests.unit.plugins.plugin_utils import bundles


@pytest.fixture
def recipe(tmp_path: Path) -> bundle_make.Recipe:
    """A recipe of small files, for Linux alone."""
    source, locks, collection = tmp_path / "source", tmp_path / "locks", tmp_path / "collection"
    package = source / "agent/twinhull"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Twinhull."""\n\n__version__ = "0.3.0"\n')
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_text(name)
    locks.mkdir()
    for name in ("requirements-linux.txt", "requirements-pip.txt"):
        (locks / name).write_text(f"x==1 --hash=sha256:{hashlib.sha256(name.encode()).hexdigest()}\n")
    collection.mkdir()
    (collection / "galaxy.yml").write_text(
        "namespace: twinhull\nname: ha\ndependencies: {community.crypto: '*'}\n"
    )
    return bundle_make.Recipe(source, locks, tmp_path / "cache", collection, ("linux",))


def inputs(recipe: bundle_make.Recipe, version: str = "0.3.0") -> str:
    return str(bundle_make.inputs_sha256(recipe, version, {"community.crypto": "3.0.0"}))


def test_the_version_is_read_from_the_sources(recipe: bundle_make.Recipe) -> None:
    assert bundle_make.source_version(recipe.source) == "0.3.0"


def test_a_folder_without_sources_is_told(tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleError, match="bundle_source=PATH"):
        bundle_make.source_version(tmp_path)


@pytest.mark.parametrize("version", ["", "1", "1.2", "v1.2.3", "1.2.3/../..", "1.2.3 ", "1.2.3-x"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(bundle.BundleError, match="is no version"):
        bundle_make.check_version(version)


@pytest.mark.parametrize("version", ["0.1.0", "10.20.30", "1.5.0rc1", "1.5.0.dev3"])
def test_versions_are_taken(version: str) -> None:
    assert bundle_make.check_version(version) == version


def test_inputs_are_the_same_while_nothing_differs(recipe: bundle_make.Recipe) -> None:
    before = inputs(recipe)
    caches = recipe.source / "agent/twinhull/__pycache__"
    caches.mkdir()
    (caches / "x.pyc").write_bytes(b"cache")
    assert inputs(recipe) == before


@pytest.mark.parametrize(
    "changed", ["source/agent/twinhull/__init__.py", "locks/requirements-linux.txt", "collection/x"]
)
def test_inputs_differ_when_something_does(recipe: bundle_make.Recipe, tmp_path: Path, changed: str) -> None:
    before = inputs(recipe)
    (tmp_path / changed).write_text("another")
    assert inputs(recipe) != before
    assert inputs(recipe, "0.4.0") != inputs(recipe)
    assert inputs(replace(recipe, platforms=("linux", "windows"))) != inputs(recipe)


def test_a_damaged_bundle_is_never_current(tmp_path: Path) -> None:
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()))
    assert bundle_make.is_current(path, "0" * 64)
    assert not bundle_make.is_current(path, "1" * 64)
    path.write_bytes(path.read_bytes()[:-200])
    assert not bundle_make.is_current(path, "0" * 64)
    assert not bundle_make.is_current(tmp_path / "none", "0" * 64)


def test_cached_wheels_are_checked_against_the_lock_each_time(recipe: bundle_make.Recipe) -> None:
    lock = recipe.locks / "requirements-pip.txt"
    key = hashlib.sha256(f"{bundle.file_sha256(lock)} {('3.11',)} {()}".encode()).hexdigest()[:16]
    directory = recipe.cache / f"requirements-pip-{key}"
    directory.mkdir(parents=True)
    (directory / "complete").touch()
    wheel = directory / "x-1-py3-none-any.whl"
    wheel.write_text("requirements-pip.txt")  # the lock of the fixture names the digest of its own name
    assert bundle_make.download(lock, recipe.cache, ("3.11",), ()) == [wheel]
    wheel.write_text("another")
    with pytest.raises(bundle.BundleError, match=r"is not what requirements-pip\.txt names\. Delete"):
        bundle_make.download(lock, recipe.cache, ("3.11",), ())


def test_a_lock_without_hashes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("x==1\n")
    with pytest.raises(bundle.BundleError, match="has no hashes"):
        bundle_make.locked_hashes(tmp_path / "lock.txt")
    with pytest.raises(bundle.BundleError, match="cannot be read"):
        bundle_make.locked_hashes(tmp_path / "none.txt")


def test_the_hosts_requirements_name_exactly_the_wheels_that_are_there() -> None:
    text = bundle_make.requirements(
        {
            "cffi-2.0-cp311-cp311-manylinux.whl": "a" * 64,
            "cffi-2.0-cp312-cp312-manylinux.whl": "b" * 64,
            "typing_extensions-4.0-py3-none-any.whl": "c" * 64,
        }
    )
    assert text == (
        f"cffi==2.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
        f"typing-extensions==4.0 \\\n    --hash=sha256:{'c' * 64}\n"
    )


def test_another_python_for_windows_than_the_pinned_one_is_refused(
    recipe: bundle_make.Recipe, tmp_path: Path
) -> None:
    local = tmp_path / "python.zip"
    local.write_bytes(b"repacked")
    ours = replace(recipe, python_windows=local)
    with pytest.raises(bundle.BundleError, match="bundle_python_windows_sha256"):
        bundle_make.windows_python(ours)
    trusted = replace(ours, python_windows_sha256=bundle.file_sha256(local))
    assert bundle_make.windows_python(trusted) == local
    with pytest.raises(bundle.BundleError, match="there is no such file"):
        bundle_make.windows_python(replace(ours, python_windows=tmp_path / "none.zip"))


@pytest.fixture
def distributed(tmp_path: Path) -> Path:
    """An installed collection of which a distribution left out a file that its list still names."""
    root = tmp_path / "ansible_collections/acme/things"
    (root / "plugins/modules").mkdir(parents=True)
    (root / "plugins/modules/thing.py").write_text("# a module\n")
    (root / "plugins/modules/__pycache__").mkdir()
    (root / "plugins/modules/__pycache__/thing.pyc").write_bytes(b"cache")
    (root / "README.md").write_text("Things\n")
    about: dict[str, Any] = {
        "namespace": "acme", "name": "things", "version": "2.0.0", "authors": ["A"], "readme": "README.md",
        "tags": [], "description": "Things", "license": ["MIT"], "license_file": None, "dependencies": {},
        "repository": "https://example.com", "documentation": None, "homepage": None, "issues": None,
    }  # fmt: skip
    listed = {
        "name": "tests/gone.py",
        "ftype": "file",
        "chksum_type": "sha256",
        "chksum_sha256": "0" * 64,
        "format": 1,
    }
    (root / "FILES.json").write_text(json.dumps({"files": [listed], "format": 1}))
    file = {
        "name": "FILES.json",
        "ftype": "file",
        "chksum_type": "sha256",
        "chksum_sha256": "0" * 64,
        "format": 1,
    }
    (root / "MANIFEST.json").write_text(
        json.dumps({"collection_info": about, "file_manifest_file": file, "format": 1})
    )
    return root


def test_an_installed_collection_is_packed_as_it_lies_there(distributed: Path) -> None:
    name, raw = bundle_collections.pack_installed(distributed)
    assert name == "acme-things-2.0.0.tar.gz"
    assert bundle_collections.pack_installed(distributed) == (name, raw)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        names = archive.getnames()
    assert "plugins/modules/thing.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_a_collection_that_is_not_installed_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(bundle.BundleError, match=r"ansible-galaxy collection install acme\.nowhere"):
        bundle_collections.installed("acme.nowhere")


def test_dependencies_are_read_from_sources_and_from_installed_collections(
    recipe: bundle_make.Recipe, distributed: Path, tmp_path: Path
) -> None:
    assert bundle_collections.dependencies_of(recipe.collection) == ["community.crypto"]
    assert bundle_collections.dependencies_of(distributed) == []
    with pytest.raises(bundle.BundleError, match="this is no collection"):
        bundle_collections.dependencies_of(tmp_path / "nowhere")


def test_archives_of_equal_content_are_equal_and_tell_nothing_of_the_machine(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tar.gz", tmp_path / "other.tar.gz"
    files = {"b": b"2", "a": b"1", "folder/": b""}
    bundle.write_atomically(one, lambda stream: bundle.write_tar(stream, files))
    bundle.write_atomically(other, lambda stream: bundle.write_tar(stream, dict(reversed(files.items()))))
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a", "b", "folder"]
    assert {(member.uname, member.uid, member.mtime) for member in members} == {("root", 0, bundle.MTIME_S)}
