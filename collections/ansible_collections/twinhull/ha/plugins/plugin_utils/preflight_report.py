"""The findings of a site as text and as plain values. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .preflight_model import Finding

WIDTH = 110
_TOLD_ERRORS = 3
_MARKS = {"error": "ERROR  ", "warning": "warning", "ok": "ok     "}


def as_report(site: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as plain values: format, site, counts, verdict, findings."""
    count = {level: sum(finding.level == level for finding in findings) for level in _MARKS}
    return {
        "format": 1,
        "site": site,
        "passed": count["error"] == 0,
        "errors": count["error"],
        "warnings": count["warning"],
        "ok": count["ok"],
        "findings": [finding.as_dict() for finding in findings],
    }


def refusal(report: Mapping[str, Any]) -> str:
    """The verdict with the first errors, for the one line that a recap shows."""
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    told = " ".join(finding["sentence"] for finding in errors[:_TOLD_ERRORS])
    rest = len(errors) - _TOLD_ERRORS
    return f"{verdict(report)} {told}" + (f" And {rest} more, see the report." if rest > 0 else "")


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence about the whole."""
    site, errors, warnings = report["site"], report["errors"], report["warnings"]
    if errors:
        return (
            f"{site}: preflight found {_count(errors, 'error')} and {_count(warnings, 'warning')}. "
            "Nothing was changed. Correct the errors and run it again."
        )
    told = f" with {_count(warnings, 'warning')}" if warnings else ""
    return f"{site}: preflight passed{told}. Nothing was changed."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def as_text(report: Mapping[str, Any], *, verbose: bool = False) -> list[str]:
    """The report as lines; what is as it should be only with `verbose`."""
    lines = [verdict(report)]
    for finding in report["findings"]:
        if finding["level"] == "ok" and not verbose:
            continue
        head = f"  {_MARKS[finding['level']]} {finding['code']}: "
        lines += textwrap.wrap(head + finding["sentence"], WIDTH, subsequent_indent=" " * 10)
        if finding["remedy"]:
            lines += textwrap.wrap(
                "-> " + finding["remedy"], WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 13
            )
    if not verbose and report["ok"]:
        lines.append(f"  {report['ok']} further things were looked at and are as they should be.")
    return lines
