#!/usr/bin/python
"""Documentation of C(twinhull.ha.protected_vm); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: protected_vm
short_description: Move an existing VM into a module's folder and mirror it, or move it back out
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - V(present) checks both nodes, moves the VM's disks and configuration into the folder of the module, starts it there and
    copies it to the other node. The original files are kept where they are.
  - V(absent) stops it, moves it back out into O(target) and ends the mirror. The volumes of both nodes are set aside and
    kept.
options:
  module:
    description: The module's name. It must be in the configuration.
    type: str
    required: true
  state:
    description: Whether the module protects its VM.
    type: str
    choices: [present, absent]
    default: present
  domain:
    description: With O(state=present), the VM's name in the hypervisor. One that is not the configured one is refused.
    type: str
  stop_vm:
    description: With O(state=present), shut the VM down for it. Without it, a running VM is refused.
    type: bool
    default: false
  target:
    description: With O(state=absent), the directory on the host where the VM goes, an absolute path. A VM needs one.
    type: str
  wait_green:
    description: With O(state=present), wait until the other node is its uptodate mirror, both green.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
    details: It says whether something would be done. The agent's own checks of both hosts are made only when it is done.
  diff_mode:
    support: full
  platform:
    platforms: posix, windows
notes:
  - Run V(present) on the node that has the VM, and V(absent) on the node that runs the module.
seealso:
  - module: twinhull.ha.module
"""

EXAMPLES = r"""
- name: Protect the VM web as module VM1 on a Linux node
  twinhull.ha.protected_vm:
    module: VM1
    domain: web
    stop_vm: true
    wait_green: true
  become: true

- name: Take VM1 out of protection on a Windows node
  twinhull.ha.protected_vm:
    module: VM1
    state: absent
    target: 'D:\VMs\VM1'
"""

RETURN = r"""
message:
  description: What was done, or why not, with site and node before it.
  returned: always
  type: str
module:
  description: The module's name.
  returned: success
  type: str
diff:
  description: Whether it was and is protected.
  returned: success
  type: dict
"""
