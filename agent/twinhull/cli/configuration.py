"""`twinhull config check|show|apply`."""

from __future__ import annotations

import argparse
from pathlib import Path

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
    text = read_text(args.file)
    config = parse_cluster(text, str(args.file), node)
    agent = shell.agent()
    try:
        plan = agent.call("config_apply", {"text": text, "dry_run": True, "by": who()})
        done = plan
        if plan["changed"] and not args.dry_run:
            done = agent.call("config_apply", {"text": text, "dry_run": False, "by": who()})
    finally:
        agent.close()
    applied = bool(done["changed"]) and not args.dry_run
    plain = {"applied": applied, "digest": config.digest(), **done}
    shell.result(plain, "\n".join(_applied_lines(done, applied, args.dry_run)))
    return DONE


def _applied_lines(done: dict[str, list[str]], applied: bool, dry_run: bool) -> list[str]:
    if not done["changed"]:
        return ["Nothing changes: the agent runs with this configuration already.", *_warn(done["warnings"])]
    verb = "would change" if dry_run else "changed"
    end = ["Applied."] if applied else ["Nothing was applied."]
    return [*_lines(done["changed"], verb), *_warn(done["warnings"]), *end]


def run_normalise(shell: Shell, args: argparse.Namespace) -> int:
    """The file with every default written out."""
    config = parse_cluster(read_text(args.file), str(args.file), _node(shell))
    shell.result({"text": to_yaml(config), "digest": config.digest()}, to_yaml(config).rstrip())
    return DONE


def _lines(changed: list[str], verb: str) -> list[str]:
    return [f"{verb}: {line}" for line in changed]


def _warn(found: list[str]) -> list[str]:
    return [f"warning: {line}" for line in found]
