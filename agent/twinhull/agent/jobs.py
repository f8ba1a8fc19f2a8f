"""Long work that the agent does in the background, with progress that anybody may ask for."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinhull.errors import TwinhullError, UsageError

KEPT_JOBS = 200

log = logging.getLogger(__name__)


@dataclass
class Job:
    """One piece of work.

    Args:
        command, module: what was asked for, and of which module (empty: of the node).
        started_s: monotonic seconds.
        sentence: the closing sentence; `remedy` what to do about a failure.
        result: plain JSON that the work leaves for whoever asked; None where the sentence is all.
        archive: a file that the work made for whoever asked.
    """

    id: str
    command: str
    module: str
    started_s: float
    done: bool = False
    ok: bool = False
    sentence: str = ""
    remedy: str = ""
    exit_code: int = 1
    result: dict[str, Any] | None = None
    archive: Path | None = None
    _text: str = ""
    _done_bytes: int = 0
    _total_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def progress(self, text: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Say how far the work is."""
        with self._lock:
            self._text, self._done_bytes, self._total_bytes = text, done_bytes, total_bytes

    @property
    def title(self) -> str:
        """Command and module in a few words."""
        return f"{self.command} {self.module}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """What a client sees."""
        with self._lock:
            elapsed_s = max(time.monotonic() - self.started_s, 1e-3)
            rate = self._done_bytes / elapsed_s
            left = self._total_bytes - self._done_bytes
            progress = {
                "text": self._text,
                "done_bytes": self._done_bytes,
                "total_bytes": self._total_bytes,
                "rate_bytes_s": rate,
                "eta_s": left / rate if rate and left > 0 else None,
            }
            return {
                "job": self.id,
                "title": self.title,
                "command": self.command,
                "module": self.module,
                "done": self.done,
                "ok": self.ok,
                "sentence": self.sentence,
                "remedy": self.remedy,
                "exit_code": 0 if self.ok else self.exit_code,
                "progress": progress if self._text and not self.done else None,
                "result": self.result if self.done else None,
            }


class Jobs:
    """All jobs of this agent; of those that are done the newest `KEPT_JOBS` are kept."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, command: str, module: str, work: Callable[[Job], str]) -> Job:
        """Do `work` in a thread of its own; it returns the closing sentence or raises TwinhullError.

        Args:
            command, module: see `Job`.
        """
        job = Job(secrets.token_hex(8), command, module, time.monotonic())
        with self._lock:
            self._jobs[job.id] = job
            for old in [old for old, known in self._jobs.items() if known.done][:-KEPT_JOBS]:
                del self._jobs[old]
        threading.Thread(target=self._run, args=(job, work), name=f"job-{job.title}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job:
        """The job. Raises UsageError when nobody knows it (the agent may have restarted)."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise UsageError(
                "This agent does not know that job.", "It may have restarted: look at the status."
            )
        return job

    @staticmethod
    def _run(job: Job, work: Callable[[Job], str]) -> None:
        try:
            job.sentence = work(job)
            job.ok = True
        except TwinhullError as error:
            job.sentence, job.remedy, job.exit_code = error.what, error.remedy, error.exit_code
        except OSError as error:
            job.sentence = f"{job.title} failed: {error}."
        except Exception:
            log.exception("%s ended with a defect of ours", job.title)
            job.sentence = (
                f"{job.title} failed because of a defect in Twinhull; the agent's log has the details."
            )
        finally:
            job.done = True
