# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Single words are accepted or refused with what is accepted."""

from __future__ import annotations

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils import sites_words as words


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("2 GiB", 2 << 30), ("2gib", 2 << 30), ("1.5 TiB", 3 << 39), ("64 GB", 64 * 10**9), ("4096 B", 4096)],
)
def test_sizes_have_a_unit(text: str, size_bytes: int) -> None:
    assert words.parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("64", "has no unit"),
        ("64 GiBs", "is no unit of size"),
        ("much", "is no size"),
        ("512 MiB", "is outside 1 GiB to 64 TiB"),
        ("65 TiB", "is outside 1 GiB to 64 TiB"),
        ("2000000001 B", "no whole number of 4 KiB blocks"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        words.read_size(text)


def test_durations_without_a_unit_stay_numbers() -> None:
    read = words.read_duration(1.0, 120.0)
    assert read("10") == 10
    assert read("1.5") == 1.5
    assert read("2 min") == "2 min"
    with pytest.raises(ValueError, match="180 s is outside 1 s to 120 s"):
        read("3 min")


@pytest.mark.parametrize(
    "text", ["Sun 02:00-04:00", "Mon-Fri 22:00-02:00", "daily 03:00-04:00", "Sat,Sun 01:00-24:00"]
)
def test_windows_are_days_and_times(text: str) -> None:
    assert words.read_window(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sunday 02:00-04:00", "is no day"),
        ("Sun 02:00", "is no window"),
        ("Sun 02:00-02:00", "ends when it begins"),
        ("Sun 02:00-25:00", "is no time of day"),
    ],
)
def test_windows_that_are_none_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        words.read_window(text)


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fe80::1%eth0", "a-host"]
)
def test_addresses_are_literal_and_can_be_reached_from_elsewhere(text: str) -> None:
    with pytest.raises(ValueError, match=r"address"):
        words.read_ip(text)


def test_addresses_get_their_usual_spelling() -> None:
    assert words.read_ip("2001:DB8:0:0::1") == "2001:db8::1"


def test_a_network_with_host_bits_is_told_with_the_right_one() -> None:
    assert words.read_network("10.0.0.0/24") == "10.0.0.0/24"
    assert words.read_network("10.0.0.7") == "10.0.0.7"
    with pytest.raises(ValueError, match=r"write the network, '10\.0\.0\.0/24'"):
        words.read_network("10.0.0.7/24")


def test_ansible_may_connect_to_names_and_to_this_machine() -> None:
    assert words.read_target("127.0.0.1") == "127.0.0.1"
    assert words.read_target("lyon-a.example.net") == "lyon-a.example.net"
    with pytest.raises(ValueError, match="cannot be the name of a host"):
        words.read_target("somewhere else")


@pytest.mark.parametrize(
    ("text", "platform", "reason"),
    [
        ("srv/VM1", "linux", "is no absolute path"),
        ("/srv/../VM1", "linux", "without '//'"),
        ("/srv", "linux", "is used by others"),
        ("/", "linux", "is used by others"),
        ("/etc/VM1", "linux", "belongs to the system"),
        ("C:/VM1", "linux", "is a path of Windows"),
        ("/srv/VM1", "windows", "is a path of Linux"),
        ("D:\\", "windows", "is a whole drive"),
        ("C:\\Windows\\VM1", "windows", "belongs to the system"),
        ("D:/VM1", "windows", "must be written with"),
        ("D:\\VM1\\..\\x", "windows", "must be written without"),
        ("D:\\VM1.", "windows", "must be written without"),
        ("D:\\VM|1", "windows", "does not allow"),
        ("\\\\server\\share", "windows", "is no absolute path on a drive"),
    ],
)
def test_folders_that_cannot_be_are_refused(text: str, platform: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        words.read_folder(platform)(text)


@pytest.mark.parametrize(
    ("first", "second", "platform", "overlaps"),
    [
        ("/srv/VM1", "/srv/VM1/x", "linux", True),
        ("/srv/VM1", "/srv/VM10", "linux", False),
        ("/srv/VM1", "/srv/vm1", "linux", False),
        ("D:\\VM1", "D:\\vm1\\x", "windows", True),
        ("D:\\VM1", "E:\\VM1", "windows", False),
    ],
)
def test_folders_overlap_part_by_part(first: str, second: str, platform: str, overlaps: bool) -> None:
    parts = [words.path_parts(text, platform) for text in (first, second)]
    assert words.overlap(*parts) is overlaps
    assert words.overlap(*parts[::-1]) is overlaps


def test_a_suggestion_is_near_or_what_other_products_say_or_all_words() -> None:
    assert words.suggestion("prefered", ["preferred", "size"]) == ": did you mean 'preferred'?"
    assert words.suggestion("servers", ["nodes", "tags"]) == ": did you mean 'nodes'?"
    assert words.suggestion("zzz", ["nodes", "tags"]) == ": use nodes, tags"
