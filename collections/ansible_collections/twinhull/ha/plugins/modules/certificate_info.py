#!/usr/bin/python
"""Documentation of C(twinhull.ha.certificate_info); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_info
short_description: The certificates of a node and when they end
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Reads the certificates of the host, its own and the authority's. It works when no agent runs or the certificates have
    expired.
  - It sets no facts. Register its result.
options:
  warn_days:
    description: A certificate that ends within so many days is to be renewed.
    type: int
    default: 30
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix, windows
seealso:
  - module: twinhull.ha.module_info
"""

EXAMPLES = r"""
- name: Read the certificates of a Linux node
  twinhull.ha.certificate_info:
    warn_days: 60
  become: true
  register: certificates

- name: Read the certificates of a Windows node
  twinhull.ha.certificate_info:
  register: certificates
"""

RETURN = r"""
message:
  description: Which certificates are to be renewed, with site and node before it.
  returned: always
  type: str
certificates:
  description: All certificates of the node.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file on the host.
      type: str
    kind:
      description: V(ca), V(node) or V(operator).
      type: str
    name:
      description: Whose certificate it is.
      type: str
    cluster:
      description: The cluster's name in it.
      type: str
    not_before:
      description: Valid from, ISO 8601.
      type: str
    not_after:
      description: Valid until, ISO 8601.
      type: str
    days_left:
      description: Days until it ends.
      type: int
    expiring:
      description: The agent warns of its end.
      type: bool
    expired:
      description: It has ended.
      type: bool
    fingerprint:
      description: SHA-256 of the certificate.
      type: str
    key_present:
      description: Its private key lies beside it.
      type: bool
renew:
  description: A certificate ends within O(warn_days) days.
  returned: success
  type: bool
expired:
  description: A certificate has ended.
  returned: success
  type: bool
days_left:
  description: Days until the first one ends. Null when there are none.
  returned: success
  type: int
"""
