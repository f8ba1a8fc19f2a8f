#!/usr/bin/python
"""Documentation of C(twinhull.ha.verify); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Compare both nodes' copies of a module while it runs, and repair if told to
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Compares digests of the whole volume on both nodes while the VM runs.
  - Without O(repair) it only reads, and the task fails when the copies differ.
options:
  module:
    description: The module's name.
    type: str
    required: true
  repair:
    description:
      - Overwrite blocks that differ with those of the node that runs the module.
      - In check mode the copies are compared and nothing is repaired.
    type: bool
    default: false
  source:
    description:
      - With O(repair=true), the name of the node whose blocks are right, in the place of the one that runs the module.
    type: str
  fail_on_difference:
    description: Fail when differences were found and not repaired. With V(false) the result tells them.
    type: bool
    default: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
    details: The comparison is made in check mode too, because it changes nothing. Only the repair is left out.
  diff_mode:
    support: full
  platform:
    platforms: posix, windows
notes:
  - Run it on the node that runs the module.
  - It reads both disks from end to end. Plan it, and give O(timeout_s) room. The agent can do it by itself too, in a window
    of the configuration.
"""

EXAMPLES = r"""
- name: Compare the copies of VM1 on Linux nodes
  twinhull.ha.verify:
    module: VM1
    timeout_s: 86400
  become: true

- name: Compare and repair on a Windows node
  twinhull.ha.verify:
    module: VM1
    repair: true
    timeout_s: 86400
"""

RETURN = r"""
message:
  description: What was found, with site and node before it.
  returned: always
  type: str
module:
  description: The module's name.
  returned: when the comparison was made
  type: str
differing_bytes:
  description: How many bytes differed, in whole blocks.
  returned: when the comparison was made
  type: int
repaired_bytes:
  description: How many of them were repaired.
  returned: when the comparison was made
  type: int
result:
  description: The comparison's result as the agent tells it.
  returned: when the comparison was made
  type: dict
diff:
  description: How much differs, before and after.
  returned: success
  type: dict
"""
