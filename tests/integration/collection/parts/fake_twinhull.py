"""The `twinhull` command with the same JSON as the real one, over a cluster that is a JSON file.

    fake_twinhull.py STATE COMMAND...

STATE holds `node`, `peer`, `config`, `modules` (module -> node -> side), `jobs`, `calls` (what was asked) and `faults`:
`polls` (looks until a job is done), `agent_down` and `garbage` (how many commands from now on go wrong), `job_lost` (the
agent forgets its jobs), `refuse` (command -> error), `unfinished` (jobs never end), `no_effect` (jobs end without doing
anything), `fails` (how jobs end).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]


class RefusedError(Exception):
    """An error that the command tells."""

    def __init__(self, error: str, remedy: str = "", exit_code: int = 1) -> None:
        super().__init__(error)
        self.plain = {"ok": False, "error": error, "remedy": remedy, "exit_code": exit_code}


class Parser(argparse.ArgumentParser):
    """Tells misuse as the real command does."""

    def error(self, message: str) -> NoReturn:
        raise RefusedError(message, "See: twinhull --help", 2)


def parser() -> Parser:
    top = Parser(allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("status")
    _job_command(commands, "start")
    _job_command(commands, "stop").add_argument("--forced", action="store_true")
    swap = _job_command(commands, "swap")
    swap.add_argument("--mode", choices=("stop", "save"))
    for words in (("checker", ("suspend", "resume")),):
        group = commands.add_parser(words[0]).add_subparsers(dest="what", required=True)
        for name in words[1]:
            _job_command(group, name)
    protect = _job_command(commands, "protect")
    protect.add_argument("--domain")
    protect.add_argument("--stop-vm", action="store_true")
    _job_command(commands, "unprotect").add_argument("--target")
    verify = _job_command(commands, "verify")
    verify.add_argument("--repair", action="store_true")
    verify.add_argument("--source")
    job = commands.add_parser("job")
    job.add_argument("job")
    job.add_argument("--no-wait", action="store_true", required=True)
    config = commands.add_parser("config").add_subparsers(dest="what", required=True)
    config.add_parser("show")
    apply = config.add_parser("apply")
    apply.add_argument("file", choices=("-",))
    apply.add_argument("--dry-run", action="store_true")
    snapshot = commands.add_parser("snapshot")
    snapshot.add_argument("--anonymise", action="store_true")
    snapshot.add_argument("--output", type=Path, required=True)
    snapshot.add_argument("--timeout", type=float)
    commands.add_parser("pki").add_subparsers(dest="what", required=True).add_parser("show")
    return top


def _job_command(group: Any, name: str) -> Any:
    command = group.add_parser(name)
    command.add_argument("module")
    command.add_argument("--no-wait", action="store_true", required=True)
    command.add_argument("--yes")
    return command


def answer(state: State, args: argparse.Namespace) -> Any:
    faults = state["faults"]
    if args.command == "pki":
        return state["certificates"]
    if faults.get("agent_down", 0) > 0:
        faults["agent_down"] -= 1
        raise RefusedError(
            "No agent answers on node a: refused.", "Look with: systemctl status twinhull-agent", 9
        )
    if args.command in faults.get("refuse", {}):
        raise RefusedError(*faults["refuse"][args.command])
    if args.command == "status":
        return status(state)
    if args.command == "job":
        return job(state, args.job)
    if args.command == "config":
        return (
            config_show(state) if args.what == "show" else config_apply(state, sys.stdin.read(), args.dry_run)
        )
    if args.command == "snapshot":
        args.output.write_bytes(b"archive" * 100_000)
        return {"file": str(args.output), "size_bytes": 700_000, "anonymised": args.anonymise}
    return begin(state, args)


def status(state: State) -> dict[str, Any]:
    nodes = {}
    for node in (state["node"], state["peer"]):
        modules = {name: sides[node] for name, sides in state["modules"].items() if node in sides}
        nodes[node] = {"reachable": True, "version": "0.1.0", "warnings": [], "modules": modules}
    return {"cluster": "lyon", "node": state["node"], "warnings": [], "nodes": nodes}


def config_show(state: State) -> dict[str, Any]:
    return {"text": json.dumps(state["config"]), "digest": "0" * 64}


def config_apply(state: State, text: str, dry_run: bool) -> dict[str, Any]:
    text.encode("ascii")
    new = json.loads(text)
    if new.get("cluster") != state["config"]["cluster"]:
        raise RefusedError(
            "The cluster cannot be renamed: its certificates carry the name.", "Nothing was applied.", 3
        )
    changes = list(differences(state["config"], new, ""))
    if not dry_run:
        state["config"] = new
    message = "Nothing changes." if not changes else "Nothing was applied." if dry_run else "Applied."
    return {"ok": True, "changed": bool(changes), "changes": changes, "message": message, "warnings": []}


def differences(old: Any, new: Any, path: str) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield {"path": path, "before": old, "after": new}


def begin(state: State, args: argparse.Namespace) -> dict[str, Any]:
    if getattr(args, "yes", None) not in (None, args.module):
        raise RefusedError(f"--yes names '{args.yes}'", "", 2)
    name = f"job{len(state['jobs'])}"
    words = {key: str(value) for key, value in vars(args).items()}
    state["jobs"][name] = {"args": words, "polls": state["faults"].get("polls", 1)}
    return {"ok": True, "id": name, "state": "running", "message": f"Started as job {name}"}


def job(state: State, name: str) -> dict[str, Any]:
    faults = state["faults"]
    if faults.pop("job_lost", False):
        for lost in state["jobs"].values():
            if not faults.get("no_effect"):
                effect(state, lost["args"])
        state["jobs"] = {}
    if name not in state["jobs"]:
        raise RefusedError(
            "This agent does not know that job.", "It may have restarted: look at the status.", 2
        )
    found = state["jobs"][name]
    found["polls"] -= 1
    plain = {"ok": True, "id": name, "command": found["args"]["command"], "module": found["args"]["module"]}
    if found["polls"] > 0 or faults.get("unfinished"):
        progress = {
            "text": "copying",
            "done_bytes": 3 << 30,
            "total_bytes": 4 << 30,
            "rate_bytes_s": 1 << 20,
            "eta_s": 61,
        }
        return {**plain, "state": "running", "progress": progress, "message": "", "result": None}
    if fails := faults.pop("fails_once", "") or faults.get("fails"):
        return {
            **plain,
            **failed(fails, "Look at the guest.", faults.get("exit_code", 7)),
            "result": None,
        }
    result = None if faults.get("no_effect") else effect(state, found["args"])
    if result and result["differing_bytes"] != result["repaired_bytes"]:
        return {**plain, **failed(result["message"], "Find out why, then repair.", 1), "result": result}
    return {**plain, "state": "done", "progress": {}, "message": "The agent did it.", "result": result}


def failed(message: str, remedy: str, exit_code: int) -> dict[str, Any]:
    """The part of a job's answer that tells of its failure."""
    told = {"ok": False, "state": "failed", "message": message, "error": message}
    return {**told, "remedy": remedy, "exit_code": exit_code}


def effect(state: State, args: dict[str, str]) -> Any:
    """What a job does in the end."""
    sides = state["modules"][args["module"]]
    own, other = sides[state["node"]], sides[state["peer"]]
    command = args["command"]
    if command == "start":
        own.update(side("SECOND" if other["state"] in ("PRIM", "ALONE") else "ALONE"))
    elif command == "stop":
        own.update(side("STOP", "red"))
    elif command == "swap":
        before = dict(own)
        own.update(other)
        other.update(before)
    elif command == "checker":
        own["checkers"] = {"suspended": args["what"] == "suspend", "items": {}}
    elif command == "protect":
        own.update({**side("PRIM"), "generation": "1234", "unfinished": ""})
        other.update({**side("SECOND"), "generation": "1234"})
    elif command == "unprotect":
        own.update({**side("STOP", "red"), "generation": "-"})
        other.update({**side("STOP", "red"), "generation": "-"})
    elif command == "verify":
        return verified(state, args)
    return None


def verified(state: State, args: dict[str, str]) -> dict[str, Any]:
    differing = state.get("differing_bytes", 0)
    repaired = differing if args["repair"] == "True" else 0
    state["differing_bytes"] = differing - repaired
    message = f"{differing} bytes differ, {repaired} were repaired."
    return {
        "state": "complete",
        "differing_bytes": differing,
        "repaired_bytes": repaired,
        "message": message,
    }


def side(state: str, colour: str = "green") -> dict[str, Any]:
    """One module on one node."""
    return {
        "state": state,
        "colour": colour,
        "uptodate": True,
        "sentence": f"It is {state}.",
        "resource_state": "running" if state in ("PRIM", "ALONE") else "off",
        "generation": "1234",
        "checkers": {"suspended": False, "items": {}},
        "worker": {"alive": True},
    }


def main() -> int:
    path, words = Path(sys.argv[1]), sys.argv[2:]
    words.remove("--json")
    state = json.loads(path.read_text())
    state["calls"].append(words)
    code, told = 0, ""
    try:
        if state["faults"].get("garbage", 0) > 0:
            state["faults"]["garbage"] -= 1
            code, told = 137, "Killed"
        else:
            told = json.dumps(answer(state, parser().parse_args(words)), indent=2, ensure_ascii=False)
    except RefusedError as error:
        code, told = int(str(error.plain["exit_code"])), json.dumps(error.plain)
    path.write_text(json.dumps(state))
    sys.stderr.write("a remark that is no answer\n")
    sys.stdout.write(f"{told}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
