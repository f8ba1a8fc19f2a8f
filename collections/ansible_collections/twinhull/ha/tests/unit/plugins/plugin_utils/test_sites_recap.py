# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Each site has one outcome, and one that was left out says where and why."""

from __future__ import annotations

from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_recap import (
    HostRecap,
    Trouble,
    recap_json,
    recap_lines,
    recap_sites,
    sentence_of,
)


def host(name: str, **seen: Any) -> HostRecap:
    site, node = name.rsplit("-", 1)
    return HostRecap(name, site, node, **{"processed": True, **seen})


def failed(
    name: str, sentence: str, *, time: int = 1, kind: str = "failed", follows: bool = False
) -> HostRecap:
    trouble = Trouble(name, name[-1], "Start it", kind, sentence, follows)
    counts = {"unreachable": 1} if kind == "unreachable" else {"failures": 1}
    return host(name, troubles=((time, trouble),), **counts)


def lines(hosts: list[HostRecap], *, check: bool = False) -> list[str]:
    return [line for _outcome, line in recap_lines(recap_sites(hosts), check=check)]


def test_sites_that_were_left_out_come_first_then_those_that_changed() -> None:
    hosts = [
        host("paris-a"),
        host("basel-a", changed=2),
        host("basel-b", changed=1),
        failed("turin-a", "No room."),
    ]
    assert lines(hosts) == [
        "left out   turin  turin-a (node a), task 'Start it': No room.",
        "done       basel  3 changes",
        "unchanged  paris",
        "",
        "1 of 3 sites was left out, the reason stands beside each. When it is repaired, run the same again with: "
        "--limit site_turin",
    ]


def test_the_cause_is_told_and_not_what_followed_at_the_other_node() -> None:
    hosts = [
        failed("lyon-a", "The peer failed.", time=2, follows=True),
        failed("lyon-b", "The disk is full.", time=1),
    ]
    assert lines(hosts)[0] == "left out   lyon  lyon-b (node b), task 'Start it': The disk is full."
    assert not any("The peer failed." in line for line in lines(hosts))


def test_a_site_that_only_followed_says_so() -> None:
    assert (
        "Only one node was chosen." in lines([failed("lyon-a", "Only one node was chosen.", follows=True)])[0]
    )


def test_one_sentence_of_both_nodes_is_told_once() -> None:
    assert len(lines([failed("lyon-a", "No room.", time=1), failed("lyon-b", "No room.", time=2)])) == 3


def test_different_sentences_of_both_nodes_are_told_in_their_order() -> None:
    told = lines([failed("lyon-a", "No clock.", time=2), failed("lyon-b", "No room.", time=1)])
    assert told[0].endswith("lyon-b (node b), task 'Start it': No room.")
    assert told[1].strip() == "lyon-a (node a), task 'Start it': No clock."


def test_an_unreachable_host_is_told() -> None:
    told = lines([failed("lyon-a", "No route to host", kind="unreachable")])
    assert told[0] == "left out   lyon  lyon-a (node a) cannot be reached: No route to host"


def test_a_failure_that_was_rescued_leaves_nothing_out() -> None:
    rescued = Trouble("lyon-a", "a", "Try", "failed", "It was repaired.")
    assert lines([host("lyon-a", changed=1, troubles=((1, rescued),))]) == ["done       lyon  1 change"]


def test_the_last_failure_of_a_host_counts_the_earlier_ones_were_rescued() -> None:
    first = Trouble("lyon-a", "a", "Try", "failed", "It was repaired.")
    last = Trouble("lyon-a", "a", "Start", "failed", "It does not start.")
    told = lines([host("lyon-a", failures=1, troubles=((1, first), (2, last)))])
    assert "It does not start." in told[0]
    assert "It was repaired." not in told[0]


def test_sites_that_the_run_never_came_to_are_left_out_when_it_ended_early() -> None:
    hosts = [failed("lyon-a", "No room."), host("basel-a", processed=False), host("basel-b", processed=False)]
    told = lines(hosts)
    assert told[0] == "left out   basel  the run ended before it came to this site; nothing was changed there"


def test_sites_with_nothing_to_do_are_unchanged_when_nobody_failed() -> None:
    assert lines([host("lyon-a", processed=False), host("basel-a")]) == [
        "unchanged  basel",
        "unchanged  lyon",
    ]


def test_a_site_that_another_one_stopped_says_which() -> None:
    stop = Trouble(
        "lyon-a", "a", "Upgrade", "stopped", "the run was stopped by the failure of site lyon: No room."
    )
    told = lines([failed("lyon-a", "No room."), host("basel-a", changed=1, stopped=stop)])
    assert told[0].startswith("left out   basel  lyon-a")
    assert "the run was stopped by the failure of site lyon" in told[0]


def test_a_failure_without_any_message_is_not_swallowed() -> None:
    assert "it failed without a message" in lines([host("lyon-a", failures=1)])[0]


def test_a_check_run_says_that_nothing_was_changed_yet() -> None:
    assert lines([host("lyon-a", changed=2)], check=True) == ["done       lyon  2 changes to be made"]


def test_a_long_report_is_cut_on_the_screen_and_whole_in_the_json() -> None:
    report = "\n".join(f"finding {number}" for number in range(40))
    recaps = recap_sites([failed("lyon-a", report)])
    shown = [line for _outcome, line in recap_lines(recaps, check=False)]
    assert "finding 11" in "\n".join(shown)
    assert "finding 12" not in "\n".join(shown)
    assert any("the rest stands above" in line for line in shown)
    content = recap_json(recaps, "install", check=False, ended="2030-01-01T00:00:00Z")
    assert content["sites"][0]["troubles"][0]["sentence"] == report


def test_the_limit_for_the_next_run_is_left_away_when_it_is_too_long() -> None:
    told = lines([failed(f"s{number}-a", "No room.") for number in range(11)])
    assert told[-1] == "11 of 11 sites were left out, the reason stands beside each."


def test_the_sentence_of_a_result_is_what_a_person_can_read() -> None:
    assert sentence_of({"msg": "Task failed: Action failed: No room."}) == "No room."
    assert sentence_of({"msg": "", "stderr": "no such file\n", "rc": 1}) == "no such file"
    assert sentence_of({"rc": 3}) == "the command ended with 3 and said nothing"
    items = [{"failed": True, "msg": "one"}, {"msg": "fine"}, {"failed": True, "msg": "two"}]
    assert sentence_of({"msg": "One or more items failed", "results": items}) == "one\ntwo"
    assert sentence_of({}) == "it failed without a message: run again with -vvv"
