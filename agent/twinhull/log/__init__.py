"""Logging, reading logs back, and the audit log. No secret may go into any of them."""

from .audit import AUDIT_LOG, AuditEntry, AuditLog, read_audit
from .read import LogLine, LogPage, read_logs
from .who import who
from .write import AGENT_LOG, NO_NODE, Log, LogHandle, clean, module_file, setup_logging

__all__ = [
    "AGENT_LOG",
    "AUDIT_LOG",
    "NO_NODE",
    "AuditEntry",
    "AuditLog",
    "Log",
    "LogHandle",
    "LogLine",
    "LogPage",
    "clean",
    "module_file",
    "read_audit",
    "read_logs",
    "setup_logging",
    "who",
]
