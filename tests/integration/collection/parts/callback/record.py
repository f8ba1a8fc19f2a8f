"""Writes every task's result as one line of JSON into the file that RECORD_FILE names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: results as JSON lines
description: For tests.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Records what happened."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def _record(self, kind: str, result: Any) -> None:
        plain = json.loads(self._dump_results(result._result, keep_invocation=False))
        line = json.dumps({"kind": kind, "task": result._task.get_name(), **plain})
        with Path(os.environ["RECORD_FILE"]).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Called by Ansible."""
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Called by Ansible."""
        self._record("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Called by Ansible."""
        self._record("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Called by Ansible."""
        self._record("skipped", result)
