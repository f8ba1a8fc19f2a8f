# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

# Documentation of the PowerShell module beside it.

DOCUMENTATION = r"""
---
module: win_preflight_facts
short_description: Gather what an installation of Twinhull depends on (Windows)
version_added: 0.1.0
description:
  - The Windows part of M(twinhull.ha.preflight_facts), which runs it on Windows hosts. Use that one in playbooks.
  - Reads only. What cannot be read is told in C(unreadable), and the rest is still gathered.
options:
  data_dir:
    description: Directory that holds, or will hold, the volumes. It need not exist.
    type: str
    default: C:\ProgramData\Twinhull\data
  install_dir:
    description: Directory that holds, or will hold, the installed versions of the agent.
    type: str
    default: C:\Program Files\Twinhull
  folders:
    description: The folders of the site's modules.
    type: list
    elements: str
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
attributes:
  check_mode:
    description: Runs the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  platform:
    description: Hosts that it runs on.
    platforms: windows
    support: full
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
seealso:
  - module: twinhull.ha.preflight_facts
author:
  - Twinhull contributors (@twinhull)
"""

EXAMPLES = r"""
- name: Gather what an installation depends on
  twinhull.ha.win_preflight_facts:
    folders: ['D:\Twinhull\VM1']
    ports: [7410, 7411, 7421]
    domains: [VM1]
  register: result
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    twinhull_preflight:
      description: The facts, in the words of M(twinhull.ha.preflight_facts).
      returned: always
      type: dict
      sample: {"format": 1, "platform": "windows", "drives": ["C", "D"]}
"""
