#!/usr/bin/python
"""Documentation of C(twinhull.ha.cluster); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster
short_description: The configuration of a site, on both of its nodes
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Has the agent of the host take a configuration of the cluster. The agent checks it, hands it to the other node and takes
    it over.
  - An invalid configuration is refused as a whole, with every mistake named. Nothing is applied then.
  - What changes is compared by meaning. The order, the spelling of sizes and times, and defaults that are written out make
    no difference.
options:
  config:
    description:
      - The whole configuration, with the keys of C(cluster.yml).
      - With the inventory plugin of this collection it is the variable C(twinhull_cluster).
      - Required with O(state=present).
    type: dict
  state:
    description:
      - V(present) has the agents run with O(config).
      - V(gathered) only reads the configuration that the agent runs with.
    type: str
    choices: [present, gathered]
    default: present
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
    details: The agent itself checks the configuration and says what would change (C(config apply --dry-run)).
  diff_mode:
    support: full
    details: Both configurations as YAML, every default written out.
  platform:
    platforms: posix, windows
notes:
  - The first configuration of a new host is written by the role P(twinhull.ha.cluster#role), because an agent does not start
    without one.
  - A node that is away gets the configuration when the task runs on it. So run it on both nodes of a site, one after the
    other (C(throttle=1)). On the second one nothing changes.
seealso:
  - module: twinhull.ha.module
  - module: twinhull.ha.module_info
"""

EXAMPLES = r"""
- name: Have both Linux nodes run with the inventory's configuration
  twinhull.ha.cluster:
    config: "{{ twinhull_cluster }}"
  become: true
  throttle: 1

- name: The same on Windows nodes
  twinhull.ha.cluster:
    config: "{{ twinhull_cluster }}"
  throttle: 1

- name: Read what the agent runs with
  twinhull.ha.cluster:
    state: gathered
  become: true
  register: present
"""

RETURN = r"""
message:
  description: What was done, or why not, in a sentence that names site and node.
  returned: always
  type: str
  sample: "lyon: a: Applied."
config:
  description: The configuration that the agent runs with afterwards, every default written out.
  returned: success
  type: dict
changes:
  description: Each value that differed.
  returned: when O(state=present)
  type: list
  elements: dict
  contains:
    path:
      description: Keys joined by dots.
      type: str
      sample: modules.VM1.boot.delay
    before:
      description: The value as it was; null where the key was not there.
      type: raw
    after:
      description: The value as it is now; null where the key is not there any more.
      type: raw
changed_lines:
  description: The same for people, one line for each value.
  returned: when O(state=present)
  type: list
  elements: str
  sample: ["modules.VM1.boot.delay: 0 -> 60"]
diff:
  description: Both configurations as YAML.
  returned: when O(state=present)
  type: dict
"""
