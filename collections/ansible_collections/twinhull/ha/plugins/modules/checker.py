#!/usr/bin/python
"""Documentation of C(twinhull.ha.checker); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checker
short_description: Suspend or resume the checkers of a module on this node
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Lets the checkers of a module rest while someone works inside its guest, or has them work again.
  - A module's checkers work on the node that runs it. Run the task on both nodes to have it hold after a failover too.
options:
  module:
    description: The module's name.
    type: str
    required: true
  state:
    description: Whether the checkers rest or work.
    type: str
    choices: [suspended, resumed]
    required: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix, windows
"""

EXAMPLES = r"""
- name: Let the checkers of VM1 rest on both Linux nodes
  twinhull.ha.checker:
    module: VM1
    state: suspended
  become: true

- name: Have them work again on Windows nodes
  twinhull.ha.checker:
    module: VM1
    state: resumed
"""

RETURN = r"""
message:
  description: What was done, or why not, with site and node before it.
  returned: always
  type: str
  sample: "lyon: a: VM1: the checkers are suspended on a."
state:
  description: V(suspended) or V(resumed).
  returned: success
  type: str
diff:
  description: The state of the checkers before and after.
  returned: success
  type: dict
"""
