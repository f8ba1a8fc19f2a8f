"""The story's own measures: what they find, and that they can find it."""

from __future__ import annotations

from pathlib import Path

from tests.lab import records

from . import recorder
from .demo import excerpt
from .fabric import Place
from .story import differences, judge, read_results

PLAY = """\
TASK [twinhull.ha.agent : Install the wheels] ****
changed: [lyon-a]
ok: [lyon-b] => (item=x)
fatal: [basel-a]: FAILED! => {}
fatal: [oslo-a]: UNREACHABLE! => changed=false

RUNNING HANDLER [Reload] ****
changed: [basel-b -> localhost] => (item=y)
"""


def test_the_results_of_a_play_are_read_with_task_host_and_state() -> None:
    task = "twinhull.ha.agent : Install the wheels"
    assert read_results(PLAY) == (
        (task, "lyon-a", "changed"),
        (task, "lyon-b", "ok"),
        (task, "basel-a", "fatal"),
        (task, "oslo-a", "fatal"),
        ("Reload", "basel-b", "changed"),
    )


def test_a_start_that_found_less_than_was_acknowledged_is_a_loss() -> None:
    told = judge("boot 0 0.\nack 1 100.\nack 2 150.\nboot 1 0.\nack 2 900.\n")
    assert told.boots == 2
    assert told.last == 2
    assert len(told.lost_at_a_boot) == 1
    assert told.longest_pause_ms == 750


def test_a_start_that_found_a_record_which_was_not_told_of_any_more_is_no_loss() -> None:
    assert judge("boot 0 0.\nack 1 100.\nack 2 15\nboot 2 0.\n").lost_at_a_boot == ()


def test_a_damaged_record_is_a_loss() -> None:
    assert judge("boot 0 0.\nack 1 100.\nboot 1 1.\n").lost_at_a_boot != ()


def test_starts_before_the_line_that_is_asked_from_are_not_counted() -> None:
    assert judge("boot 0 0.\nack 1 100.\nboot 1 0.\n", since_line=2).boots == 1


def test_the_recorder_writes_records_as_the_lab_reads_them() -> None:
    content = b"".join(recorder.make(number) for number in (1, 2, 3))
    assert recorder.find_last(content) == (3, 0)
    assert records.missing(content, [1, 2, 3], recorder.SLOTS) == []
    torn = content[:5000] + b"?" + content[5001:]
    assert recorder.find_last(torn) == (3, 1)
    assert records.missing(torn, [1, 2, 3], recorder.SLOTS) == [2]


def test_two_fingerprints_differ_by_what_came_went_and_changed() -> None:
    told = differences({"/a": "1", "/b": "1", "/c": "1"}, {"/a": "1", "/b": "2", "/d": "1"})
    assert [line.split(":")[0] for line in told] == ["/b", "/c", "/d"]


def test_no_two_hosts_share_an_address_or_a_cable() -> None:
    places = [Place(f"s{site}-{node}", site, node) for site in (1, 2, 3) for node in (0, 1)]
    for network in ("lan", "direct", "control"):
        assert len({place.address(network) for place in places}) == len(places)
        assert len({place.port(network) for place in places}) == len(places)
        assert all(len(place.port(network)) <= 15 for place in places), "the kernel's limit"


def test_the_demo_shows_the_recap_by_site_and_the_table_of_the_status() -> None:
    recap = "x\nSITES ****\ndone  lyon  3 changes\n\n"
    assert excerpt(recap, "install") == ["done  lyon  3 changes"]
    status = "\n".join(
        (
            "TASK [Show the fleet] ***",
            "ok: [a] =>",
            "    msg:",
            "    - site  colour",
            "    - '1 sites: 1 green'",
            "TASK [Make the directory of the report] ***",
            "    - no",
        )
    )
    assert excerpt(status, "status") == ["site  colour", "1 sites: 1 green"]


def test_what_runs_on_the_hosts_needs_only_the_standard_library() -> None:
    for name in ("recorder.py", "power.py"):
        source = Path(__file__).with_name(name).read_text(encoding="utf-8")
        assert "from ." not in source
        assert "import tests" not in source
