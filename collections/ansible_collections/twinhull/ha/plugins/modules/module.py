#!/usr/bin/python
"""Documentation of C(twinhull.ha.module); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: module
short_description: One protected unit of a site, configured, started, stopped or run by this node
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - A module is a volume with what runs on it. This one brings a module to the state wanted, and waits until it is there.
  - V(started), V(stopped) and V(primary) speak of the node that the task runs on. Run the task on both nodes of a site to
    start a module as a mirrored pair.
options:
  name:
    description: The module's name in the configuration.
    type: str
    required: true
  state:
    description:
      - V(present) has the module in the configuration of the cluster, with O(config). It does not start it.
      - V(absent) takes it out of the configuration. It must be stopped on both nodes. Its volumes stay where they are.
      - V(started) has it run on this node, or has this node mirror it, whichever is right. A module that waits for its other
        node or its witness is waited for.
      - V(stopped) has it off on this node. When this node runs it and the other one is its uptodate mirror, the other one
        takes over. Stop the mirror first to have it off on both.
      - V(primary) has this node run it. It is swapped only when the other node runs it now, and only when both are green.
    type: str
    choices: [present, absent, started, stopped, primary]
    default: present
  config:
    description:
      - The module's part of C(cluster.yml).
      - Required with O(state=present).
    type: dict
  forced:
    description: With O(state=stopped), use the module's forced stop mode, usually power off.
    type: bool
    default: false
  mode:
    description: With O(state=primary), shut the guest down or save its state. The default is as configured.
    type: str
    choices: [stop, save]
  wait_green:
    description:
      - With V(started) and V(primary), wait until one node runs it and the other is its uptodate mirror, both green.
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
  - It never starts from a node's own data against what is known of the other one. That is a person's decision, made on the
    host with C(twinhull start MODULE --as-primary).
seealso:
  - module: twinhull.ha.swap
  - module: twinhull.ha.protected_vm
  - module: twinhull.ha.cluster
"""

EXAMPLES = r"""
- name: Start VM1 on both nodes and wait until it is mirrored
  twinhull.ha.module:
    name: VM1
    state: started
    wait_green: true
  become: "{{ twinhull_platform == 'linux' }}"

- name: Have this node run VM1
  twinhull.ha.module:
    name: VM1
    state: primary
  become: true

- name: Add a module on a Windows site
  twinhull.ha.module:
    name: VM2
    config:
      number: 2
      folder: 'D:\Repli-Hyper-V\VM2'
      size: 200 GiB
      resource:
        kind: hyperv
"""

RETURN = r"""
message:
  description: What was done, or why not, in the agent's sentence, with site and node before it.
  returned: always
  type: str
  sample: "lyon: a: VM1 runs on a."
module:
  description: The module's name.
  returned: success
  type: str
state:
  description: State, colour and whether it is uptodate, by node, as seen at the end.
  returned: when O(state) is V(started), V(stopped) or V(primary)
  type: dict
  sample: {"a": {"state": "PRIM", "colour": "green", "uptodate": true}, "b": {"state": "SECOND", "colour": "green",
    "uptodate": true}}
changes:
  description: Each value of the configuration that differed, as with M(twinhull.ha.cluster).
  returned: when O(state) is V(present) or V(absent)
  type: list
  elements: dict
diff:
  description: State or configuration before and after.
  returned: success
  type: dict
timed_out:
  description: The task stopped waiting, but the work goes on in the agent.
  returned: when the time was over
  type: bool
exit_code:
  description: The exit code of the command, as C(twinhull exit-codes) lists them.
  returned: when the command failed
  type: int
"""
