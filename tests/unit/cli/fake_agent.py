"""An agent that keeps the whole contract of the command line and remembers what it was asked."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from typing import Any

from twinhull.config import ClusterConfig, check_change, parse_cluster, to_yaml
from twinhull.errors import TwinhullError, UsageError

Plain = dict[str, Any]


def module_side(**differs: Any) -> Plain:
    """One module on one node: PRIM, green, with nothing to complain of."""
    side: Plain = {
        "state": "PRIM", "colour": "green", "uptodate": True, "holding": False,
        "sentence": "Every write is on both nodes.", "waiting_for": None, "resource": "running",
        "generation": "0011223344556677", "peer_may_be_uptodate": True, "sync": None, "unprotected": None,
        "folder": "/srv/twinhull/VM1", "size_bytes": 40 << 30, "allocated_bytes": 12 << 30,
        "disk_free_bytes": 60 << 30, "disk_total_bytes": 100 << 30,
        "checkers": {"suspended": False, "items": {"guest": {"ok": True, "detail": ""}}},
        "restarts": 0, "preferred": "a", "witness": "ping", "warnings": [],
        "worker": {"alive": True, "pid": 4711},
    }  # fmt: skip
    return side | differs


def node_side(modules: Plain, **differs: Any) -> Plain:
    """One reachable node."""
    node: Plain = {
        "reachable": True, "version": "0.1.0",
        "networks": {
            "heartbeat": {"up": True, "last_heard_s": 0.2},
            "replication": {"up": True, "last_heard_s": 0.2},
        },
        "certificate": {"expires": "2029-02-24T00:00:00+00:00", "days_left": 824},
        "warnings": [], "config_digest": "c0ffee", "modules": modules,
    }  # fmt: skip
    return node | differs


def green_status() -> Plain:
    """Two nodes, one module, all well."""
    second = module_side(state="SECOND", resource="off", sentence="Mirrors node a.")
    return {
        "cluster": "site-042",
        "node": "a",
        "time": "2026-11-22T18:00:00+00:00",
        "nodes": {"a": node_side({"VM1": module_side()}), "b": node_side({"VM1": second})},
    }


def done(sentence: str = "It is done.", **differs: Any) -> Plain:
    """The last answer of a job."""
    return {"done": True, "ok": True, "sentence": sentence, "progress": None} | differs


def under_way(text: str = "working", **progress: Any) -> Plain:
    """An answer of a job that goes on."""
    return {"done": False, "ok": False, "sentence": "", "progress": {"text": text} | progress}


class FakeAgent:
    """Its behaviour is set by its public attributes.

    Args:
        config: what it runs with.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.status: Plain = green_status()
        self.job_answers: list[Plain | Exception] = [done()]
        self.danger_lines: list[str] = []
        self.log_pages: list[list[Plain]] = [[]]
        self.archive = b"archive " * 1000
        self.chunk_bytes = 3000
        self.asked: list[tuple[str, Plain]] = []
        self.originals: Plain = {"files": [], "keeps": ""}
        self.down: TwinhullError | None = None
        self.closed = 0
        self.peer_digest = ""

    def methods(self) -> dict[str, Callable[[Any, Plain], Plain]]:
        """The table that a control server serves."""
        names = (
            "status", "command", "job", "danger", "logs", "config_show", "config_apply",
            "protect", "unprotect", "originals", "verify", "witness", "snapshot", "snapshot_read",
        )  # fmt: skip
        return {name: self._method(name) for name in names}

    def _method(self, name: str) -> Callable[[Any, Plain], Plain]:
        return lambda _caller, arguments: self.call(name, arguments)

    def call(self, method: str, arguments: Mapping[str, Any]) -> Plain:
        """As the agent's connection does it."""
        self.asked.append((method, dict(arguments)))
        if self.down is not None:
            raise self.down
        answer: Plain = getattr(self, f"_{method}")(**arguments)
        return copy.deepcopy(answer)

    def close(self) -> None:
        """Count the connections that were closed."""
        self.closed += 1

    def deeds(self) -> list[tuple[str, Plain]]:
        """What was asked, but for the polling of jobs."""
        return [(method, facts) for method, facts in self.asked if method != "job"]

    def _status(self) -> Plain:
        return self.status

    def _command(self, module: str, **_facts: Any) -> Plain:
        self.config.module(module)
        return {"job": "17"}

    def _protect(self, module: str, domain: str | None, stop_vm: bool, by: str) -> Plain:
        return self._command(module)

    def _unprotect(self, module: str, target: str | None, by: str) -> Plain:
        return self._command(module)

    def _originals(self, module: str, remove: bool = False, by: str = "") -> Plain:
        return self._command(module) if remove else {"module": module, "node": "a", **self.originals}

    def _verify(self, module: str, repair: bool, source: str | None, abandon: bool, by: str) -> Plain:
        return self._command(module)

    def _witness(self, module: str) -> Plain:
        listed = [{"replica": "a1" * 16, "node": "a"}, {"replica": "b1" * 16, "node": ""}]
        return {
            "module": module, "node": "a", "kind": "etcd", "rules": "etcd",
            "endpoints": ["https://10.77.9.1:2379"], "key": f"/twinhull/site-042/{module}",
            "etcd_cluster": "c0ffee", "revision": 9, "key_revision": 7,
            "record": {"generation": "d0" * 16, "parent": None, "may_start": listed, "node": "a"},
            "sentence": "it lists a.",
        }  # fmt: skip

    def _danger(self, module: str, command: str, **_facts: Any) -> Plain:
        return {"lines": self.danger_lines}

    def _job(self, id: str) -> Plain:
        if id != "17":
            raise UsageError(f"There is no job {id}.", "See: twinhull status")
        answer = self.job_answers.pop(0) if len(self.job_answers) > 1 else self.job_answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _logs(self, module: str | None, after: str, limit: int) -> Plain:
        number = int(after or 0)
        if number >= len(self.log_pages):
            raise KeyboardInterrupt
        return {"lines": self.log_pages[number], "next": str(number + 1)}

    def _config_show(self) -> Plain:
        return {"text": to_yaml(self.config), "digest": self.config.digest()}

    def _config_apply(self, text: str, dry_run: bool, by: str) -> Plain:
        new = parse_cluster(text)
        change = check_change(self.config, new)
        differs = "" if self.peer_digest in ("", new.digest()) else self.peer_digest
        if not dry_run:
            self.config = new
            self.peer_digest = ""
        return {
            "changed": change.changed,
            "changes": [difference._asdict() for difference in change.differences],
            "peer": "b",
            "peer_digest": differs,
            "warnings": change.warnings,
        }

    def _snapshot(self, anonymise: bool) -> Plain:
        return {"job": "17"}

    def _snapshot_read(self, job: str, offset: int) -> Plain:
        data = self.archive[offset : offset + self.chunk_bytes]
        return {"data_base64": base64.b64encode(data).decode(), "size": len(self.archive)}
