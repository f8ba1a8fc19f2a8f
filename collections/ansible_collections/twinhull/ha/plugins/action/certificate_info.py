"""`twinhull.ha.certificate_info`: the certificates of a node and when they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_arguments import CERTIFICATE_INFO
from ..plugin_utils.twinhull_host import Host


class ActionModule(TwinhullAction):
    """Reads the files on the host; asks no agent."""

    ARGUMENTS = CERTIFICATE_INFO
    PREVIEWS = False

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError, or TaskError for an answer that is none."""
        answer = host.ask("pki", "show")
        if not isinstance(answer, list):
            raise TaskError("The answer to `twinhull pki show` is no list of certificates.")
        certificates = [dict(item) for item in answer if isinstance(item, Mapping)]
        ending = [item for item in certificates if _days(item) <= options["warn_days"]]
        expired = [item for item in certificates if item.get("expired")]
        days = [_days(item) for item in certificates]
        return {
            "changed": False,
            "message": _message(certificates, ending),
            "certificates": certificates,
            "expired": bool(expired),
            "renew": bool(ending),
            "days_left": min(days) if days else None,
        }


def _days(certificate: Mapping[str, Any]) -> int:
    return int(certificate.get("days_left") or 0)


def _message(certificates: list[dict[str, Any]], ending: list[dict[str, Any]]) -> str:
    if not certificates:
        return "There are no certificates: issue them with the role twinhull.ha.pki."
    if not ending:
        return f"All {len(certificates)} certificates are valid for {min(map(_days, certificates))} days or more."
    told = [f"{item.get('kind')} {item.get('name')} ({_ends(item)})" for item in ending]
    return f"Renew with playbook rotate_certificates.yml: {', '.join(told)}."


def _ends(certificate: Mapping[str, Any]) -> str:
    return "EXPIRED" if certificate.get("expired") else f"{_days(certificate)} days left"
