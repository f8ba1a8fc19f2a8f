#!/usr/bin/python
"""Documentation of C(twinhull.ha.module_info); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: module_info
short_description: The status of a site's modules on both nodes
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Asks the agent of the host what it and the other node say of one or all modules.
  - It sets no facts. Register its result.
options:
  module:
    description: The module's name. The default is all of them.
    type: str
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
  - module: twinhull.ha.certificate_info
"""

EXAMPLES = r"""
- name: Ask a Linux node about all modules
  twinhull.ha.module_info:
  become: true
  register: status

- name: Ask a Windows node about one module
  twinhull.ha.module_info:
    module: VM1
  register: status

- name: Go on only when everything is green
  ansible.builtin.assert:
    that: status.green
"""

RETURN = r"""
message:
  description: How many modules are green, with site and node before it.
  returned: always
  type: str
  sample: "lyon: a: 2 of 2 modules are green and uptodate on both nodes."
cluster:
  description: The cluster's name.
  returned: success
  type: str
node:
  description: The name of the node that was asked.
  returned: success
  type: str
green:
  description: Every module asked for is run by one node and mirrored by the other, both green and uptodate.
  returned: success
  type: bool
nodes:
  description: Each node's part of the status without its modules, such as V(reachable), V(version), V(networks),
    V(certificate) and V(warnings).
  returned: success
  type: dict
modules:
  description: The modules by name.
  returned: success
  type: dict
  contains:
    green:
      description: One node runs it and the other is its uptodate mirror, both green.
      type: bool
    runs_on:
      description: The node that runs it. Null when none does, or both do.
      type: str
    split_brain:
      description: Both nodes run it. A person must decide.
      type: bool
    sentence:
      description: What both nodes say of it.
      type: str
    nodes:
      description: The module's status on each node, as C(twinhull status --json) tells it.
      type: dict
warnings_of_cluster:
  description: What only the comparison of the two nodes shows.
  returned: success
  type: list
  elements: str
"""
