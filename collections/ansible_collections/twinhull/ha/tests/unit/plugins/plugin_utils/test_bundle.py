# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A bundle is used whole or not at all, and what is wrong with it is told by file and with the remedy."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.twinhull.ha.plugins.plugin_utils import bundle
from ansible_collections.twinhull.ha.tests.unit.plugins.plugin_utils import bundles


def refusal(path: Path) -> str:
    with pytest.raises(bundle.BundleError) as caught:
        bundle.verify(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info, io.BytesIO(b""))

    return add


def test_a_whole_bundle_is_accepted_and_described(tmp_path: Path) -> None:
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()))
    found = bundle.verify(path)
    assert (found.version, found.platforms) == ("1.2.3", ("linux", "windows"))
    assert found.pythons == {"linux": ("3.11", "3.12"), "windows": ("3.11",)}
    assert found.archive_sha256 == bundle.file_sha256(path)
    assert found.wheel_sha256("linux") == found.files["wheels/linux/twinhull-1.2.3-py3-none-any.whl"]


def test_a_wrong_checksum_is_refused_by_name(tmp_path: Path) -> None:
    files = bundles.sealed(bundles.content())
    files["pip/pip-25.0-py3-none-any.whl"] = b"pop"
    words = refusal(bundles.write(tmp_path / "b.tar.gz", files))
    assert "pip/pip-25.0-py3-none-any.whl has a wrong checksum" in words
    assert "bundle.yml" in words  # the playbook that makes it again


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    files = bundles.sealed(bundles.content())
    del files["wheels/linux/cffi-1.0-cp311-cp311-manylinux.whl"]
    words = refusal(bundles.write(tmp_path / "b.tar.gz", files))
    assert "wheels/linux/cffi-1.0-cp311-cp311-manylinux.whl is missing" in words


def test_an_extra_file_is_refused_by_name(tmp_path: Path) -> None:
    files = {**bundles.sealed(bundles.content()), "wheels/linux/evil-1.0-py3-none-any.whl": b"evil"}
    words = refusal(bundles.write(tmp_path / "b.tar.gz", files))
    assert "wheels/linux/evil-1.0-py3-none-any.whl does not belong to it" in words


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("requirements-linux.txt", "requirements-linux.txt is missing"),
        ("collections/requirements.yml", "collections/requirements.yml is missing"),
        ("wheels/windows/twinhull-1.2.3-py3-none-any.whl", "twinhull-1.2.3-py3-none-any.whl is missing"),
        ("pip/pip-25.0-py3-none-any.whl", "one wheel in the folder pip"),
        ("python/windows/python-3.11.9-embed-amd64.zip", "CPython in the folder python/windows"),
    ],
)
def test_what_every_bundle_needs_is_missed_even_when_the_checksums_agree(
    tmp_path: Path, left_out: str, said: str
) -> None:
    files = bundles.sealed(bundles.content(**{left_out: None}))
    assert said in refusal(bundles.write(tmp_path / "b.tar.gz", files))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"format": 2}, "has format 2, this collection reads format 1"),
        ({"format": None}, "says no format"),
        ({"version": "../1"}, "wrong at version"),
        ({"version": None}, "wrong at version"),
        ({"platforms": ["amiga"]}, "wrong at platforms"),
        ({"platforms": []}, "wrong at platforms"),
        ({"pythons": {"linux": ["3.11"]}}, "wrong at pythons"),
        ({"inputs": "abc"}, "wrong at inputs"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    tmp_path: Path, words: dict[str, object], said: str
) -> None:
    files = bundles.sealed(bundles.content(**{"bundle.yml": bundles.manifest(**words)}))
    assert said in refusal(bundles.write(tmp_path / "b.tar.gz", files))


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "twinhull-bundle-1.2.3/../../outside",
        "/etc/passwd",
        "twinhull-bundle-1.2.3/a\\..\\b",
        "C:/x",
    ],
)
def test_a_name_that_leads_out_of_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    files = bundles.sealed(bundles.content())
    path = bundles.write(tmp_path / "b.tar.gz", files, more=member(name))
    assert "would be unpacked elsewhere" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    more = member(f"{bundles.TOP}/link", kind, "/etc/shadow")
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()), more=more)
    assert "no regular file" in refusal(path)


def test_a_file_that_is_in_it_twice_is_refused(tmp_path: Path) -> None:
    more = member(f"{bundles.TOP}/requirements-linux.txt")
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()), more=more)
    assert "is in it twice" in refusal(path)


def test_another_top_folder_is_refused(tmp_path: Path) -> None:
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()), top="elsewhere")
    assert "its top folder should be twinhull-bundle-1.2.3" in refusal(path)


def test_no_file_is_told_with_the_way_to_make_one(tmp_path: Path) -> None:
    assert "there is no such bundle" in refusal(tmp_path / "b.tar.gz")


@settings(deadline=None)  # what a busy machine takes says nothing
@given(st.binary(max_size=200))
def test_any_other_file_is_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "b.tar.gz"
    path.write_bytes(raw)
    refusal(path)


@settings(deadline=None)  # what a busy machine takes says nothing
@given(st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = bundles.write(tmp_path_factory.mktemp("damaged") / "b.tar.gz", bundles.sealed(bundles.content()))
    whole = bundle.verify(path)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw[: data.draw(st.sampled_from([len(raw), place]))]))
    try:
        found = bundle.verify(path)
    except bundle.BundleError:
        return
    assert found.files == whole.files  # only gzip's own header changed, or padding


def test_a_part_has_what_its_platform_needs_and_nothing_else(tmp_path: Path) -> None:
    found = bundle.verify(bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content())))
    linux = bundle.write_part(found, "linux", tmp_path / "parts")
    with tarfile.open(linux) as archive:
        assert sorted(archive.getnames()) == [
            "pip-of-bundle.whl",
            "requirements.txt",
            "wheels/cffi-1.0-cp311-cp311-manylinux.whl",
            "wheels/twinhull-1.2.3-py3-none-any.whl",
        ]
    windows = bundle.write_part(found, "windows", tmp_path / "parts")
    with zipfile.ZipFile(windows) as packed:
        assert packed.read("python.zip") == b"python"
        assert "wheels/cffi-1.0-cp311-cp311-win_amd64.whl" in packed.namelist()


def test_a_part_is_written_once_and_is_the_same_whenever_it_is_written(tmp_path: Path) -> None:
    found = bundle.verify(bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content())))
    first = bundle.write_part(found, "linux", tmp_path / "one")
    again = bundle.write_part(found, "linux", tmp_path / "two")
    assert first.read_bytes() == again.read_bytes()
    first.write_bytes(b"kept")
    assert bundle.write_part(found, "linux", tmp_path / "one").read_bytes() == b"kept"


def test_a_platform_that_the_bundle_lacks_is_refused(tmp_path: Path) -> None:
    manifest = bundles.manifest(platforms=["linux"], pythons={"linux": ["3.11"]})
    found = bundle.verify(
        bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content(**{"bundle.yml": manifest})))
    )
    with pytest.raises(bundle.BundleError, match="not for windows"):
        bundle.write_part(found, "windows", tmp_path)


def test_a_bundle_that_changes_after_its_check_is_not_used(tmp_path: Path) -> None:
    path = bundles.write(tmp_path / "b.tar.gz", bundles.sealed(bundles.content()))
    found = bundle.verify(path)
    bundles.write(path, bundles.sealed(bundles.content(**{"requirements-linux.txt": b"evil\n"})))
    with pytest.raises(bundle.BundleError, match="changed while the bundle was read"):
        bundle.write_part(found, "linux", tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(stream: object) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        bundle.write_atomically(target, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"
