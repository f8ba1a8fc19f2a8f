"""Reads and applies the configuration of a cluster on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .twinhull_action import Result
from .twinhull_answer import CommandError, NoAnswerError
from .twinhull_config import Plain, change_lines, changed_tree, from_text, to_input, to_text
from .twinhull_host import Host


def shown_config(host: Host) -> Plain:
    """The configuration that the host's agent runs with, every default written out. Raises a CommandError."""
    answer = host.ask("config", "show")
    try:
        return from_text(str(answer["text"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NoAnswerError(f"The answer to `twinhull config show` is not understood: {error}.") from error


def apply_config(host: Host, before: Plain, wanted: Plain, *, check_mode: bool) -> Result:
    """Have the agents take a configuration, or say what that would change.

    Args:
        before: the configuration as it is.
        wanted: the one that shall be; it travels over standard input.

    Returns the task's result. Raises CommandError when it is refused; nothing was applied then.
    """
    dry = ("--dry-run",) if check_mode else ()
    try:
        answer = host.ask("config", "apply", "-", *dry, config=to_input(wanted))
    except CommandError as failure:
        # Not NotConfiguredError: the host is configured, it is the new configuration that is refused.
        raise CommandError(failure.what, failure.remedy, failure.exit_code) from failure
    changes = [change for change in answer.get("changes") or [] if isinstance(change, Mapping)]
    after = shown_config(host) if answer.get("changed") and not check_mode else before
    return {
        "changed": bool(answer.get("changed")),
        "message": str(answer.get("message") or ""),
        "changes": [dict(change) for change in changes],
        "changed_lines": change_lines(changes),
        "diff": _diff(before, changes),
        "config": changed_tree(before, changes) if check_mode else after,
        "warnings": [str(warning) for warning in answer.get("warnings") or []],
    }


def _diff(before: Plain, changes: list[Mapping[str, Any]]) -> dict[str, str]:
    elsewhere = {
        str(change["path"]): change.get("before") for change in changes if " " in str(change.get("path"))
    }
    return {
        "before_header": "cluster.yml",
        "after_header": "cluster.yml",
        "before": to_text({**before, **elsewhere}),
        "after": to_text(changed_tree(before, changes)),
    }
