"""Commands ask the agent for the right thing, say what came of it, and confirm what is dangerous."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Console
from tests.unit.cli.fake_agent import done, under_way

from twinhull import errors
from twinhull.cli import exit_codes
from twinhull.cli.main import main
from twinhull.cli.parser import build_parser
from twinhull.errors import AgentDownError, PeerUnreachableError, TwinhullError
from twinhull.transport.control import RemoteError

PLAIN = {"as_primary": False, "forced": False, "mode": None}


def facts(console: Console) -> tuple[str, dict[str, object]]:
    (deed,) = console.agent.deeds()
    method, arguments = deed
    assert arguments.pop("by")
    return method, arguments


@pytest.mark.parametrize(
    ("argv", "command", "differs"),
    [
        (["start", "VM1"], "start", {}),
        (["stop", "VM1"], "stop", {}),
        (["restart", "VM1"], "restart", {}),
        (["stopstart", "VM1"], "stopstart", {}),
        (["swap", "VM1"], "swap", {}),
        (["swap", "VM1", "--mode", "save"], "swap", {"mode": "save"}),
        (["swap", "VM1", "--abandon"], "abandon", {}),
        (["checker", "suspend", "VM1"], "checker-suspend", {}),
        (["checker", "resume", "VM1"], "checker-resume", {}),
    ],
)
def test_a_command_on_a_module_waits_for_its_end(
    console: Console, argv: list[str], command: str, differs: dict[str, object]
) -> None:
    console.agent.job_answers = [under_way(), done("Module VM1: done.")]
    assert console.run(*argv) == 0
    assert facts(console) == ("command", {"module": "VM1", "command": command, **PLAIN, **differs})
    assert console.out == "Module VM1: done.\n"
    assert console.agent.closed == len(console.targets)


def test_the_other_nodes_agent_is_asked_when_it_is_named(console: Console) -> None:
    assert console.run("--node", "b", "stop", "VM1", "--no-wait") == 0
    assert console.run("stop", "VM1", "--no-wait", "--node", "b") == 0
    assert console.targets == ["b", "b"]
    assert console.run("status", "--node", "z") == 2
    assert "There is no node 'z' in cluster site-042." in console.err


def test_without_waiting_the_job_is_named(console: Console) -> None:
    assert console.run("swap", "VM1", "--no-wait") == 0
    assert console.out == "Started as job 17; wait for it with: twinhull job 17\n"
    assert console.run("job", "17") == 0
    assert console.out == "It is done.\n"
    assert console.run("job", "17", "--no-wait") == 0
    assert console.out == "Job 17: done. It is done.\n"


def test_a_job_that_fails_says_why_and_has_an_exit_code(console: Console) -> None:
    console.agent.job_answers = [done("The guest did not stop; it runs on.", ok=False)]
    assert console.run("swap", "VM1") == 1
    assert (console.out, console.err) == ("", "Not done: The guest did not stop; it runs on.\n")
    console.agent.job_answers = [done("The VM is not defined.", ok=False, exit_code=7)]
    assert console.run("start", "VM1", "--json") == 7
    told = json.loads(console.out)
    assert (told["ok"], told["id"], told["state"], told["exit_code"]) == (False, "17", "failed", 7)
    assert told["message"] == told["error"] == "The VM is not defined."


def test_what_to_do_about_a_failure_is_said_beside_it(console: Console) -> None:
    console.agent.job_answers = [done("The VM is not defined.", ok=False, exit_code=7, remedy="Define it.")]
    assert console.run("start", "VM1") == 7
    assert console.err == "Not done: The VM is not defined. Define it.\n"
    assert console.run("start", "VM1", "--json") == 7
    assert json.loads(console.out)["remedy"] == "Define it."


JOB_KEYS = [
    "ok", "id", "command", "module", "state", "progress", "message", "remedy", "exit_code", "result"
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "ok", "state", "code"),
    [
        (under_way("copying", done_bytes=1, total_bytes=4), True, "running", 0),
        (done("It runs.", result={"differences": 0}), True, "done", 0),
        (done("No.", ok=False, exit_code=6), False, "failed", 6),
    ],
)
def test_a_job_has_one_form_of_json_however_it_is_asked_for(
    console: Console, answer: dict[str, object], ok: bool, state: str, code: int
) -> None:
    console.agent.job_answers = [{**answer, "command": "swap", "module": "VM1"}]
    assert console.run("job", "17", "--no-wait", "--json") == 0
    told = json.loads(console.out)
    assert [key for key in told if key != "error"] == JOB_KEYS
    assert (told["ok"], told["state"], told["exit_code"]) == (ok, state, code)
    assert (told["id"], told["command"], told["module"]) == ("17", "swap", "VM1")
    assert told["result"] == answer.get("result")
    assert told["progress"] == (answer["progress"] or {})
    assert console.run("swap", "VM1", "--no-wait", "--json") == 0
    assert list(json.loads(console.out)) == JOB_KEYS
    if state != "running":
        assert console.run("swap", "VM1", "--json") == code
        assert json.loads(console.out) == told


def test_a_comparison_names_the_places_that_differ(console: Console) -> None:
    ranges = [
        {"offset_bytes": 65536, "length_bytes": 32768, "files": ["disk.qcow2"]},
        {"offset_bytes": 1 << 30, "length_bytes": 65536, "files": []},
        {"offset_bytes": 2 << 30, "length_bytes": 32768, "files": None},
    ]
    result = {"ranges": ranges, "ranges_left_out": 4, "files_note": "A note."}
    console.agent.job_answers = [done("It differs.", ok=False, remedy="Repair it.", result=result)]
    assert console.run("verify", "VM1") == 1
    assert console.err == (
        "Not done: It differs. Repair it.\n"
        "  at 65536: 32 KiB (disk.qcow2)\n"
        "  at 1073741824: 64 KiB (in no file)\n"
        "  at 2147483648: 32 KiB (files not known)\n"
        "  and 4 more\n"
        "  A note.\n"
    )
    assert facts(console) == (
        "verify", {"module": "VM1", "repair": False, "source": None, "abandon": False}
    )  # fmt: skip
    console.agent.job_answers = [done("Repaired.", result=result)]
    assert console.run("verify", "VM1", "--repair", "--source", "b") == 0
    assert console.out.startswith("Repaired.\n  at 65536")
    assert console.run("verify", "VM1", "--json") == 0
    assert json.loads(console.out)["result"] == result


def test_a_source_is_for_a_repair(console: Console) -> None:
    assert console.run("verify", "VM1", "--source", "b") == 2
    assert console.agent.asked == []


def test_waiting_ends_with_its_time_and_the_work_goes_on(console: Console) -> None:
    console.agent.job_answers = [under_way("handing over")]
    assert console.run("swap", "VM1", "--timeout", "3") == 1
    assert console.err == (
        "Not done within 3 s (handing over); job 17 goes on in the agent. Wait again with: twinhull job 17\n"
    )
    assert console.waited_s == 3
    assert console.run("job", "17", "--timeout", "1", "--json") == 1
    told = json.loads(console.out)
    assert (told["ok"], told["state"], told["exit_code"]) == (False, "running", 1)
    assert told["progress"] == {"text": "handing over"}
    assert console.run("swap", "VM1", "--timeout", "0", "--no-wait") == 2
    assert console.run("swap", "VM1", "--timeout", "soon") == 2


def test_an_agent_that_stays_away_does_not_stretch_the_waiting(console: Console) -> None:
    console.agent.job_answers = [AgentDownError("Nobody there.")]
    assert console.run("swap", "VM1", "--timeout", "2") == 1
    assert "goes on in the agent" in console.err
    assert console.waited_s == 2


def test_work_that_ends_in_time_is_not_called_late(console: Console) -> None:
    console.agent.job_answers = [under_way(), done("It runs.")]
    assert console.run("swap", "VM1", "--timeout", "1 min") == 0
    assert console.out == "It runs.\n"


def test_a_person_sees_progress(console: Console) -> None:
    console.interactive = True
    progress = {"done_bytes": 1 << 30, "total_bytes": 4 << 30, "rate_bytes_s": 100 << 20, "eta_s": 31}
    console.agent.job_answers = [under_way("copying", **progress), done()]
    assert console.run("protect", "VM1", "--domain", "web") == 0
    assert "copying: 25 %, 3 GiB of 4 GiB left, 100 MiB/s, 31 s to go" in console.err


def test_ctrl_c_says_that_the_work_goes_on(console: Console) -> None:
    console.agent.job_answers = [under_way()]
    console.pauses = 2
    assert console.run("swap", "VM1") == exit_codes.INTERRUPTED
    assert console.err == (
        "You stopped waiting; job 17 goes on in the agent. "
        "Look with: twinhull status; wait again with: twinhull job 17\n"
    )


def test_an_agent_that_restarts_is_waited_for(console: Console) -> None:
    lost = PeerUnreachableError("The connection broke.")
    console.agent.job_answers = [under_way(), lost, AgentDownError("Nobody there."), done()]
    assert console.run("swap", "VM1") == 0
    assert len(console.targets) == 4
    console.agent.job_answers = [lost]
    assert console.run("swap", "VM1") == 4


def test_what_the_agent_refuses_is_not_tried_again(console: Console) -> None:
    console.agent.job_answers = [RemoteError("There is no such job.", "See status.", 2)]
    assert console.run("job", "17") == 2
    assert len(console.agent.asked) == 1
    assert console.err == "twinhull: There is no such job.\nSee status.\n"


def test_a_module_that_is_not_there_is_refused_without_asking_anybody(console: Console) -> None:
    assert console.run("swap", "VM7") == 2
    assert "There is no module 'VM7' in cluster site-042." in console.err
    assert console.agent.asked == []


DANGEROUS = (
    ["start", "VM1", "--as-primary"],
    ["start", "VM1", "--as-primary", "--without-witness"],
    ["witness", "reset", "VM1"],
    ["stop", "VM1", "--forced"],
    ["protect", "VM1"],
    ["originals", "VM1", "--remove"],
    ["unprotect", "VM1", "--target", "/var/lib/libvirt/images"],
)


@pytest.mark.parametrize("argv", DANGEROUS)
def test_what_is_dangerous_shows_what_would_be_lost_and_has_the_name_typed(
    console: Console, argv: list[str]
) -> None:
    console.agent.danger_lines = ["3 MiB that only node b holds are lost."]
    console.interactive = True
    console.typed = ["vm1"]
    assert console.run(*argv) == 2
    assert "3 MiB that only node b holds are lost." in console.err
    assert "The name typed is not 'VM1'." in console.err
    assert [method for method, _ in console.agent.asked] == ["danger"]
    console.typed = ["VM1"]
    assert console.run(*argv) == 0


@pytest.mark.parametrize("argv", DANGEROUS)
def test_a_script_confirms_by_naming_the_module(console: Console, argv: list[str]) -> None:
    console.agent.danger_lines = ["It is dangerous."]
    assert console.run(*argv) == 2
    assert "in a script, confirm with: --yes VM1" in console.err
    assert console.run(*argv, "--yes", "VM2") == 2
    assert "--yes names 'VM2', but the module is 'VM1'." in console.err
    assert {method for method, _ in console.agent.asked} == {"danger"}
    assert console.run(*argv, "--yes", "VM1") == 0


def test_an_override_is_confirmed_even_if_the_agent_sees_no_danger(console: Console) -> None:
    assert console.run("start", "VM1", "--as-primary") == 2
    assert "Module VM1 starts from this node's data, whatever the other node holds." in console.err
    assert console.run("start", "VM1", "--as-primary", "--yes", "VM1") == 0
    assert console.agent.deeds()[-1][1]["as_primary"] is True


def test_going_on_without_the_witness_belongs_to_a_start_as_primary(console: Console) -> None:
    assert console.run("start", "VM1", "--without-witness") == 2
    assert "--without-witness is for a start as primary.\nAdd --as-primary." in console.err
    assert console.agent.asked == []
    assert console.run("start", "VM1", "--as-primary", "--without-witness", "--yes", "VM1") == 0
    asked = [arguments for _, arguments in console.agent.deeds()]
    assert [facts["without_witness"] for facts in asked] == [True, True]


def test_the_witness_is_shown_with_the_names_of_who_may_start(console: Console) -> None:
    assert console.run("witness", "show", "VM1") == 0
    assert console.out.splitlines()[0] == "Witness of VM1, asked from a: it lists a."
    assert "may start     a and a replica b1b1b1b1" in console.out
    assert "key           /twinhull/site-042/VM1 (revision 7)" in console.out
    assert console.run("witness", "show", "VM1", "--json") == 0
    assert json.loads(console.out)["record"]["generation"] == "d0" * 16
    assert console.run("witness", "show", "VM7") == 2


def test_a_witness_that_cannot_be_asked_has_an_exit_code_of_its_own(console: Console) -> None:
    console.agent.down = RemoteError("10.77.9.1:2379 cannot be reached", "", 8)
    assert console.run("witness", "show", "VM1") == 8


def test_a_reset_of_the_witness_is_a_command_to_the_worker(console: Console) -> None:
    assert console.run("witness", "reset", "VM1", "--yes", "VM1") == 0
    method, arguments = console.agent.deeds()[-1]
    assert (method, arguments["command"], arguments["module"]) == ("command", "witness-reset", "VM1")
    assert "The witness's record of VM1 is written anew." in console.err


def test_a_forced_stop_and_a_protection_without_danger_ask_nothing(console: Console) -> None:
    assert console.run("stop", "VM1", "--forced") == 0
    assert console.run("protect", "VM1", "--domain", "web", "--stop-vm") == 0
    arguments = console.agent.deeds()[-1][1]
    assert (arguments["domain"], arguments["stop_vm"]) == ("web", True)


def test_a_wrong_name_is_refused_also_where_none_is_needed(console: Console) -> None:
    assert console.run("start", "VM1", "--yes", "VM2") == 2
    assert console.agent.asked == []


@pytest.mark.parametrize(
    ("files", "keeps", "expected"),
    [
        ([], "", "VM1 has no original files on a.\n"),
        ([], "VM1 holds no VM.", "VM1 holds no VM.\n"),
        (["/images/web.img"], "", "/images/web.img\n"),
        (["/images/web.img"], "It is not mirrored.", "/images/web.img\nIt is not mirrored.\n"),
    ],
)
def test_what_a_protection_left_behind_is_shown(
    console: Console, files: list[str], keeps: str, expected: str
) -> None:
    console.agent.originals = {"files": files, "keeps": keeps}
    assert console.run("originals", "VM1") == 0
    assert console.out == expected


def test_what_a_protection_left_behind_is_removed_by_a_job(console: Console) -> None:
    assert console.run("originals", "VM1", "--remove", "--yes", "VM1") == 0
    method, arguments = console.agent.deeds()[-1]
    assert (method, arguments["module"], arguments["remove"]) == ("originals", "VM1", True)


def test_unprotect_names_its_target(console: Console) -> None:
    assert console.run("unprotect", "VM1", "--target", "/var/lib/libvirt/images", "--yes", "VM1") == 0
    assert console.agent.deeds()[-1][1]["target"] == "/var/lib/libvirt/images"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ([], "Module VM1 holds a VM, which needs a directory to go to."),
        (["--target", "images"], "--target images is no absolute path."),
    ],
)
def test_a_vm_is_not_unprotected_to_nowhere(console: Console, target: list[str], expected: str) -> None:
    assert console.run("unprotect", "VM1", *target, "--yes", "VM1") == 2
    assert expected in console.err
    assert console.agent.asked == []


def test_an_agent_that_is_down_is_said_with_what_to_do(console: Console) -> None:
    remedy = "Look with: systemctl status twinhull-agent; start it with: systemctl start twinhull-agent"
    console.agent.down = AgentDownError("No agent answers on node a.", remedy)
    assert console.run("status") == 9
    assert console.err == f"twinhull: No agent answers on node a.\n{remedy}\n"
    assert console.run("status", "--json") == 9
    assert json.loads(console.out) == {
        "ok": False, "error": "No agent answers on node a.", "message": "No agent answers on node a.",
        "remedy": remedy, "exit_code": 9,
    }  # fmt: skip


def line(second: int, text: str, level: str = "INFO", module: str | None = "VM1") -> dict[str, object]:
    time = f"2026-11-22T17:{second:02}:00.000+00:00"
    return {"time": time, "level": level, "node": "a", "module": module, "text": text}


def test_logs_are_shown_followed_and_filtered(console: Console) -> None:
    console.agent.log_pages = [[line(1, "one\x1b[2J"), line(40, "two", "ERROR", None)], [line(50, "three")]]
    assert console.run("logs", "VM1") == 0
    assert [row.split(" ", 2)[2] for row in console.out.splitlines()] == [
        "INFO    a/VM1: one [2J",
        "ERROR   a: two",
    ]
    assert console.run("logs", "--follow", "--since", "30 min") == 0
    assert [row.rsplit(" ", 1)[1] for row in console.out.splitlines()] == ["two", "three"]
    assert console.run("logs", "--level", "WARNING", "--json") == 0
    assert json.loads(console.out)["text"] == "two"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "the following arguments are required: COMMAND."),
        (["statsu"], "'statsu' is not known here: did you mean 'status'?"),
        (["checker", "pause", "VM1"], "checker: 'pause' is not known here: use one of: suspend, resume."),
        (["swap"], "swap: the following arguments are required: MODULE."),
        (["swap", "VM1", "--mode", "svae"], "swap: 'svae' is not known here: did you mean 'save'?"),
        (["start", "VM1", "--as-prim"], "unrecognized arguments: --as-prim."),
        (["logs", "-n", "0"], "logs: argument -n/--lines: '0' is no whole number from 1 to 100000."),
        (["logs", "--since", "soon"], "logs: argument --since: 'soon' is no duration: write seconds ('10')"),
    ],
)
def test_misuse_says_what_was_meant_and_changes_nothing(
    console: Console, argv: list[str], expected: str
) -> None:
    assert console.run(*argv) == 2
    assert console.err.startswith(f"twinhull: {expected}")
    assert "--help" in console.err
    assert console.agent.asked == []


def every_command(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found += every_command(below, (*path, name))
    return found


@pytest.mark.parametrize("path", every_command(build_parser()), ids=" ".join)
def test_every_command_has_help_with_examples_that_parse(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    examples = [row.strip() for row in text[text.index("examples:") :].splitlines()[1:]]
    assert examples
    for example in examples:
        words = shlex.split(re.split("&&|[<>]", example)[0])
        assert build_parser().parse_args(words[1:]).run


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("twinhull ")


def subclasses(root: type[TwinhullError]) -> list[type[TwinhullError]]:
    return [root, *(deep for below in root.__subclasses__() for deep in subclasses(below))]


def test_every_error_has_an_exit_code_that_is_listed(console: Console) -> None:
    assert console.run("exit-codes", "--json") == 0
    listed = {int(code) for code in json.loads(console.out)}
    ours = [kind for kind in subclasses(TwinhullError) if kind.__module__ == errors.__name__]
    assert {kind.exit_code for kind in ours} <= listed
    documented = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    for code, meaning in exit_codes.EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in documented
