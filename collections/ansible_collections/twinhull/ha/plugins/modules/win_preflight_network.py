# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

# Documentation of the PowerShell module beside it.

DOCUMENTATION = r"""
---
module: win_preflight_network
short_description: Measure the networks between two nodes before anything is installed (Windows)
version_added: 0.1.0
description:
  - With O(state=listening), starts a short-lived listener on this host, which ends by itself after O(lifetime_s) or with
    O(state=stopped). It answers only connections that name O(token).
  - With O(state=connected), tries every target from this host and measures the round trip where the other node's listener
    answers.
  - With O(state=measured), sends a bounded amount of data to every target's listener, one after the other.
  - Nothing on the host is changed, and nothing is left. It runs the same in check mode.
  - The Windows part of M(twinhull.ha.preflight_network), which runs it on Windows hosts. Use that one in playbooks.
options:
  state:
    description: What to do.
    type: str
    choices: [listening, connected, measured, stopped]
    required: true
  token:
    description: Letters and digits that tell the two nodes' own connections from others. It is no secret.
    type: str
    default: preflight
  listen:
    description: Addresses and ports to listen on, with O(state=listening). The result tells which could not be bound.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: An address of this host.
        type: str
        required: true
      port:
        description: A TCP port.
        type: int
        required: true
  targets:
    description: Connections to try, with O(state=connected) and O(state=measured). Further keys are returned as they are.
    type: list
    elements: dict
    default: []
  listener:
    description: The RV(listener) that O(state=listening) returned, to be ended with O(state=stopped).
    type: dict
    default: {}
  lifetime_s:
    description: Seconds after which a listener ends by itself.
    type: int
    default: 180
  timeout_s:
    description: Seconds that one connection may take.
    type: float
    default: 4
  max_bytes:
    description: Bytes to send to a target at most, with O(state=measured).
    type: int
    default: 67108864
  max_s:
    description: Seconds to send to a target at most, with O(state=measured).
    type: float
    default: 2
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
  - module: twinhull.ha.preflight_network
author:
  - Twinhull contributors (@twinhull)
"""

EXAMPLES = r"""
- name: Listen on the replication network
  twinhull.ha.win_preflight_network:
    state: listening
    listen:
      - {address: 192.168.1.12, port: 7421}
  register: listening

- name: Connect from the other node
  twinhull.ha.win_preflight_network:
    state: connected
    targets:
      - {network: direct, from: 192.168.1.11, to: 192.168.1.12, port: 7421, echo: true}
  delegate_to: lyon-a

- name: End the listener
  twinhull.ha.win_preflight_network:
    state: stopped
    listener: "{{ listening.listener }}"
"""

RETURN = r"""
listener:
  description: The process that listens.
  returned: with O(state=listening)
  type: dict
  sample: {"pid": 4711, "started": "123456"}
bound:
  description: For each address and port, whether it could be bound, and why not.
  returned: with O(state=listening)
  type: list
  elements: dict
  sample: [{"address": "192.168.1.12", "port": 7421, "bound": true, "error": ""}]
connections:
  description:
    - Each target with its outcome, which is one of V(connected), V(refused), V(timeout), V(no-route), V(blocked-here),
      V(no-address), V(reset), V(error).
    - The median round trip in milliseconds, or the bytes per second, where it was measured.
  returned: with O(state=connected) and O(state=measured)
  type: list
  elements: dict
  sample: [{"network": "direct", "port": 7421, "outcome": "connected", "rtt_ms": 0.21}]
stopped:
  description: Whether the listener still ran.
  returned: with O(state=stopped)
  type: bool
"""
