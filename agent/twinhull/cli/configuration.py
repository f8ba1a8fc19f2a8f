"""`twinhull config check|show|apply`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..config import (
    Change,
    ClusterConfig,
    InvalidConfigError,
    NodeConfig,
    check_change,
    load_node,
    parse_cluster,
    read_text,
    to_yaml,
    warnings,
)
from ..errors import ConfigError
from ..log import who
from .exit_codes import DONE
from .shell import Shell

STANDARD_INPUT = Path("-")
"""What stands for standard input where a file is named."""


def _node(shell: Shell) -> NodeConfig | None:
    """This node's configuration, or None when there is no such file (a file may be checked anywhere)."""
    return load_node(shell.node_config) if shell.node_config.exists() else None


def run_check(shell: Shell, args: argparse.Namespace) -> int:
    """Check a file of the cluster (this node's, if none is named); nothing is asked of the agent."""
    try:
        node = _node(shell)
        path = args.file or (node.cluster_config if node else NodeConfig("").cluster_config)
        config = parse_cluster(read_text(path), str(path), node)
        change = _against_present(path, config, node)
    except InvalidConfigError as error:
        if shell.json:
            problems = [problem._asdict() for problem in error.problems]
            shell.result({"ok": False, "problems": problems}, "")
            return ConfigError.exit_code
        raise
    found = [*warnings(config), *change.warnings]
    plain = {"ok": True, "digest": config.digest(), "warnings": found, "changed": change.changed}
    lines = [
        f"{path}: valid; digest {config.digest()[:16]}",
        *_lines(change.changed, "would change"),
        *_warn(found),
    ]
    shell.result(plain, "\n".join(lines))
    return DONE


def _against_present(path: Path, config: ClusterConfig, node: NodeConfig | None) -> Change:
    """What the file would change on this node; nothing when it is the node's own or there is none yet."""
    if node is None or path == node.cluster_config or not node.cluster_config.exists():
        return Change([], [])
    try:
        present = parse_cluster(read_text(node.cluster_config), str(node.cluster_config), node)
    except InvalidConfigError:
        return Change(
            [], [f"the present {node.cluster_config} is invalid itself, so the change was not checked"]
        )
    return check_change(present, config)


def run_show(shell: Shell, _args: argparse.Namespace) -> int:
    """The configuration that the agent runs with."""
    agent = shell.agent()
    try:
        answer = agent.call("config_show", {})
    finally:
        agent.close()
    shell.result(answer, f"# digest {answer['digest'][:16]}\n{str(answer['text']).rstrip()}")
    return DONE


def run_apply(shell: Shell, args: argparse.Namespace) -> int:
    """Have the agent take a new configuration of the cluster: checked here, checked there, shown, applied."""
    node = _node(shell)
    text = shell.stdin() if args.file == STANDARD_INPUT else read_text(args.file)
    config = parse_cluster(text, "standard input" if args.file == STANDARD_INPUT else str(args.file), node)
    agent = shell.agent()
    try:
        done = agent.call("config_apply", {"text": text, "dry_run": True, "by": who()})
        changes = _changes(done, config.digest())
        if changes and not args.dry_run:
            done = agent.call("config_apply", {"text": text, "dry_run": False, "by": who()})
    finally:
        agent.close()
    message = _message(bool(changes), args.dry_run)
    found = list(done["warnings"])
    plain = {
        "ok": True,
        "changed": bool(changes),
        "changes": changes,
        "applied": bool(changes) and not args.dry_run,
        "message": message,
        "warnings": found,
        "digest": config.digest(),
    }
    lines = _lines(list(done["changed"]), "would change" if args.dry_run else "changed")
    if done.get("peer_digest"):
        verb = "would take" if args.dry_run else "takes"
        lines.append(f"{done.get('peer')} has another configuration and {verb} this one")
    shell.result(plain, "\n".join([*lines, *_warn(found), message]))
    return DONE


def _changes(plan: dict[str, Any], digest: str) -> list[dict[str, Any]]:
    """What the apply changes, as plain data: on this node value by value, on the other as a whole."""
    changes = [dict(change) for change in plan.get("changes", [])]
    if plan.get("peer_digest") and not changes:
        path = f"configuration of {plan.get('peer')}"
        changes.append({"path": path, "before": plan["peer_digest"], "after": digest})
    return changes


def _message(changes: bool, dry_run: bool) -> str:
    if not changes:
        return "Nothing changes: the agent runs with this configuration already."
    return "Nothing was applied." if dry_run else "Applied."


def run_normalise(shell: Shell, args: argparse.Namespace) -> int:
    """The file with every default written out."""
    config = parse_cluster(read_text(args.file), str(args.file), _node(shell))
    shell.result({"text": to_yaml(config), "digest": config.digest()}, to_yaml(config).rstrip())
    return DONE


def _lines(changed: list[str], verb: str) -> list[str]:
    return [f"{verb}: {line}" for line in changed]


def _warn(found: list[str]) -> list[str]:
    return [f"warning: {line}" for line in found]
