# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

DOCUMENTATION = r"""
module: bundle
short_description: Make or check the archive from which hosts without internet are installed
description:
  - A bundle is one archive with everything that an installation of Twinhull needs, for Linux and Windows hosts.
    The agent's wheel, the wheels that it needs, pip, CPython for Windows, this collection and those that it needs,
    and checksums.
  - With O(state=present) it is made, on a machine with internet. What is downloaded is locked by hashes.
    It is made again only when something that it is made of has changed.
  - With O(state=verified) it is checked completely, and nothing of it is used when anything is wrong with it.
version_added: 0.1.0
author: Twinhull contributors (@twinhull)
options:
  state:
    description: V(present) makes the bundle, V(verified) checks one.
    type: str
    choices: [present, verified]
    default: verified
  path:
    description: The bundle to check. Required with O(state=verified).
    type: path
  part_dir:
    description:
      - Where on the control node the parts of O(part_platforms) are kept, a cache that may be deleted at any time.
      - Required with O(part_platforms).
    type: path
  part_platforms:
    description: With O(state=verified), the platforms whose part is written to O(part_dir), to be copied to hosts.
    type: list
    elements: str
    default: []
  source:
    description: The checkout of Twinhull. Required with O(state=present).
    type: path
  output_dir:
    description:
      - The directory that the bundle is written to, as C(twinhull-bundle-VERSION.tar.gz).
      - Required with O(state=present).
    type: path
  locks:
    description:
      - The directory of the locks C(requirements-linux.txt), C(requirements-windows.txt), C(requirements-pip.txt),
        and of C(constraints-build.txt). Required with O(state=present).
    type: path
  cache:
    description: Where downloads are kept. Required with O(state=present).
    type: path
  version:
    description: Another version for the agent than its sources say. The sources are not changed.
    type: str
    default: ''
  platforms:
    description: The platforms that the bundle installs.
    type: list
    elements: str
    choices: [linux, windows]
    default: [linux, windows]
  python_windows:
    description: A local file with CPython for Windows (the embeddable archive), in place of the download from python.org.
    type: path
  python_windows_sha256:
    description: The SHA-256 that CPython for Windows must have.
    type: str
    default: 009d6bf7e3b2ddca3d784fa09f90fe54336d5b60f0e0f305c37f400bf83cfd3b
attributes:
  check_mode:
    description: Says whether the bundle would be made; downloads and writes nothing.
    support: full
  diff_mode:
    description: Shows the version, the platforms and, once made, every file with its checksum.
    support: full
  platform:
    description: Runs on the control node, whatever the host is.
    support: full
    platforms: posix
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
notes:
  - The work is done on the control node; no connection to the host is made.
seealso:
  - name: The playbook bundle.yml
    description: Makes a bundle with the defaults of a checkout.
    link: https://github.com/twinhull/twinhull
"""

EXAMPLES = r"""
- name: Make a bundle
  twinhull.ha.bundle:
    state: present
    source: "{{ playbook_dir }}/.."
    locks: "{{ playbook_dir }}/files"
    output_dir: "{{ playbook_dir }}/../build"
    cache: "{{ playbook_dir }}/../build/bundle-cache"

- name: Check a bundle before anything is changed
  twinhull.ha.bundle:
    path: /srv/twinhull-bundle-0.1.0.tar.gz
  run_once: true
"""

RETURN = r"""
path:
  description: The bundle.
  type: str
  returned: always
  sample: /srv/twinhull-bundle-0.1.0.tar.gz
version:
  description: The agent's version in it.
  type: str
  returned: always
  sample: 0.1.0
created:
  description: When it was made.
  type: str
  returned: when there is one
  sample: '2025-01-31T12:00:00+00:00'
platforms:
  description: The platforms that it installs.
  type: list
  elements: str
  returned: when there is one
  sample: [linux, windows]
pythons:
  description: For each platform, the versions of CPython that its wheels fit.
  type: dict
  returned: when there is one
  sample: {linux: ['3.11', '3.12', '3.13'], windows: ['3.11']}
sha256:
  description: SHA-256 of the archive.
  type: str
  returned: when there is one
wheel_sha256:
  description: For each platform, SHA-256 of the agent's wheel, which tells builds of one version apart.
  type: dict
  returned: when there is one
parts:
  description: For each of O(part_platforms), the archive to be copied to hosts.
  type: dict
  returned: with O(state=verified)
"""
