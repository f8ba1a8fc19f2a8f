#!/usr/bin/python
"""Documentation of C(twinhull.ha.swap); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swap
short_description: Exchange the roles of the two nodes for a module
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Stops or saves the VM on the node that runs it and starts it on the other one. The nodes stay connected, and nothing is
    resynchronised.
  - It is done only when both nodes are green and uptodate.
  - A guest that does not stop in its time makes the agent abandon the swap. The VM runs on where it was, and the task fails.
options:
  module:
    description: The module's name.
    type: str
    required: true
  to:
    description:
      - The name of the node that shall run it. Nothing is done when it does already.
      - Without it the roles are always exchanged, so the task is not idempotent.
    type: str
  mode:
    description: Shut the guest down or save its state. The default is as configured.
    type: str
    choices: [stop, save]
  wait_green:
    description: Wait afterwards until both nodes are green and uptodate.
    type: bool
    default: false
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
notes:
  - Run it on one node of a site, for example with C(run_once) or on the host that shall be emptied.
seealso:
  - module: twinhull.ha.module
"""

EXAMPLES = r"""
- name: Bring VM1 to node b
  twinhull.ha.swap:
    module: VM1
    to: b
    wait_green: true
  become: true

- name: Exchange the roles on a Windows site, saving the guest's state
  twinhull.ha.swap:
    module: VM1
    mode: save
"""

RETURN = r"""
message:
  description: What was done, or why not, with site and node before it.
  returned: always
  type: str
  sample: "lyon: a: VM1 runs on b."
module:
  description: The module's name.
  returned: success
  type: str
from:
  description: The node that ran it before. Null when none did.
  returned: success
  type: str
to:
  description: The node that runs it now.
  returned: success
  type: str
diff:
  description: Which node runs it, before and after.
  returned: success
  type: dict
"""
