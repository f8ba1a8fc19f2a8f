#!/usr/bin/python
# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

# ruff: noqa: E402  the documentation comes first
from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_facts
short_description: Gather what an installation of Twinhull depends on
version_added: 0.1.0
description:
  - Gathers the facts of one host by which the role P(twinhull.ha.preflight#role) judges a site before anything is installed.
  - Reads only. Nothing is changed, and no temporary file is left.
  - On a Windows host the same task runs M(twinhull.ha.win_preflight_facts), which gives the same facts.
  - The difference between the host's clock and the control node's is measured through the connection, with its uncertainty.
options:
  data_dir:
    description: Directory that holds, or will hold, the volumes. It need not exist.
    type: path
    default: /var/lib/twinhull
  install_dir:
    description: Directory that holds, or will hold, the installed versions of the agent.
    type: path
    default: /opt/twinhull
  folders:
    description: The folders of the site's modules.
    type: list
    elements: path
    default: []
  ports:
    description: The TCP ports that Twinhull uses at this site.
    type: list
    elements: int
    default: []
  domains:
    description: The virtual machines that are, or will be, protected, if they exist on this host.
    type: list
    elements: str
    default: []
  libvirt_uri:
    description: The libvirt to ask. Linux only.
    type: str
    default: qemu:///system
attributes:
  check_mode:
    description: Runs the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  platform:
    description: Hosts that it runs on.
    platforms: posix, windows
    support: full
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
seealso:
  - module: twinhull.ha.preflight_network
author:
  - Twinhull contributors (@twinhull)
"""

EXAMPLES = r"""
- name: Gather what an installation depends on
  twinhull.ha.preflight_facts:
    folders: [/srv/twinhull/VM1]
    ports: [7410, 7411, 7421]
    domains: [VM1]
  become: true
  register: result

- name: Show the free bytes of the data directory's disk
  ansible.builtin.debug:
    msg: "{{ result.ansible_facts.twinhull_preflight.data_dir.free_bytes }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    twinhull_preflight:
      description:
        - Operating system, processor, memory, disks, addresses, ports, clock, hypervisor, virtual machines, agent.
        - Its C(clock) holds C(offset_s), the host's clock minus the control node's, and C(uncertainty_s), by how much
          that may be wrong.
      returned: always
      type: dict
      sample: {"format": 1, "platform": "linux", "memory": {"total_bytes": 8589934592}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.twinhull.ha.plugins.module_utils import preflight_host


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "data_dir": {"type": "path", "default": "/var/lib/twinhull"},
            "install_dir": {"type": "path", "default": "/opt/twinhull"},
            "folders": {"type": "list", "elements": "path", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "domains": {"type": "list", "elements": "str", "default": []},
            "libvirt_uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )
    facts = preflight_host.gather(module.params, module.warn)
    module.exit_json(changed=False, ansible_facts={"twinhull_preflight": facts})


if __name__ == "__main__":
    main()
