# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What role pki asks about certificates, on the control node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import pki_judgement as judgement


def judge_authority(
    certificate: str, key_present: bool, cluster: str, directory: str, now: str = ""
) -> dict[str, Any]:
    """See plugin_utils/pki_judgement.py.

    Args:
        now: ISO 8601 with an offset; the present time when empty.
    """
    return asdict(
        judgement.judge_authority(str(certificate), bool(key_present), cluster, directory, _now(now))
    )


def judge_certificate(
    found: Mapping[str, Any],
    node: str,
    cluster: str,
    directory: str,
    trusted: Sequence[str],
    known: Sequence[str],
    ca_directory: str,
    renew_before_days: int = 60,
    accept_expired: bool = False,
    now: str = "",
) -> dict[str, Any]:
    """See plugin_utils/pki_judgement.py.

    Args:
        found: `ca` and `certificate` (PEM texts, empty when absent) and `key_present`.
        now: ISO 8601 with an offset; the present time when empty.

    Raises:
        AnsibleFilterError: `found` is no such mapping.
    """
    if not isinstance(found, Mapping) or not {"ca", "certificate", "key_present"} <= set(found):
        raise AnsibleFilterError("judge_certificate wants a mapping with ca, certificate and key_present.")
    verdict = judgement.judge_node(
        judgement.Found(str(found["ca"]), str(found["certificate"]), bool(found["key_present"])),
        judgement.Holder(node, cluster, directory, "\\" if "\\" in directory else "/"),
        judgement.Authorities(
            [text for text in trusted if text], [text for text in known if text], ca_directory
        ),
        renew_before_days=int(renew_before_days),
        accept_expired=bool(accept_expired),
        now=_now(now),
    )
    return asdict(verdict)


def certificate_fingerprints(text: str) -> list[str]:
    """SHA-256 of each certificate of a PEM text. Raises AnsibleFilterError when one cannot be read."""
    try:
        return [judgement.fingerprint(certificate) for certificate in judgement.certificates_in(str(text))]
    except ValueError as error:
        raise AnsibleFilterError(f"This is no certificate: {error}.") from error


def tls_listeners(cluster: Mapping[str, Any], node: str) -> list[list[Any]]:
    """See plugin_utils/pki_judgement.py. Raises AnsibleFilterError for a node that the cluster does not have."""
    try:
        return judgement.tls_listeners(cluster, node)
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(
            f"The cluster's configuration does not say where {node} listens: {error}."
        ) from error


def late_listeners(answer: str, proof: str, expected: str = "") -> list[str]:
    """See plugin_utils/pki_judgement.py."""
    return judgement.late_listeners(str(answer), proof, expected)


def _now(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text) if text else dt.datetime.now(dt.UTC)


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "judge_authority": judge_authority,
            "judge_certificate": judge_certificate,
            "certificate_fingerprints": certificate_fingerprints,
            "tls_listeners": tls_listeners,
            "late_listeners": late_listeners,
        }
