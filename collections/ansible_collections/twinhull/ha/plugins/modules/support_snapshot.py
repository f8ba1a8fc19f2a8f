#!/usr/bin/python
"""Documentation of C(twinhull.ha.support_snapshot); the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_snapshot
short_description: One archive for support, from the host to the control node
version_added: 0.1.0
author: The Twinhull project (@twinhull)
description:
  - Has the agent collect configuration, logs, states, versions and facts of the system into one archive, fetches it, and
    removes it from the host. No keys are in it.
options:
  dest:
    description:
      - The file on the control node.
      - A directory that is there, or a path that ends with a slash, gets a file named by site, node and time.
    type: path
    required: true
  anonymise:
    description: Replace names and addresses by stand-ins that are the same everywhere in the archive.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - twinhull.ha.twinhull
attributes:
  check_mode:
    support: full
    details: It asks the agent whether it answers, and says which file it would write.
  diff_mode:
    support: none
  platform:
    platforms: posix, windows
notes:
  - The file on the control node is readable by its owner only. A file of the same name is replaced.
"""

EXAMPLES = r"""
- name: Collect archives of Linux nodes in one folder
  twinhull.ha.support_snapshot:
    dest: build/reports/
    anonymise: true
  become: true

- name: Collect the archive of a Windows node in a file
  twinhull.ha.support_snapshot:
    dest: /tmp/lyon-a.tar.gz
"""

RETURN = r"""
message:
  description: Where the archive is, or why it is not there, with site and node before it.
  returned: always
  type: str
  sample: "lyon: a: The archive is in build/reports/lyon-a-20260703-021500.tar.gz."
dest:
  description: The file on the control node.
  returned: success
  type: str
size_bytes:
  description: The size of the archive in bytes.
  returned: when it was written
  type: int
checksum:
  description: SHA-256 of the archive.
  returned: when it was written
  type: str
anonymised:
  description: Names and addresses were replaced.
  returned: when it was written
  type: bool
"""
