"""Options and notes that every module of the collection shares."""

from __future__ import annotations


class ModuleDocFragment:
    """Read by ansible-doc; the specification of the same options is in C(plugin_utils/twinhull_arguments.py)."""

    DOCUMENTATION = r"""
options:
  timeout_s:
    description:
      - How long to wait for what was asked for, in seconds.
      - When the time is over the task fails, but the work goes on in the agent. The message says how to watch it.
    type: float
    default: 3600
  poll_s:
    description:
      - Seconds between the first two looks at work that goes on. The pause grows to ten times that.
    type: float
    default: 1
  command:
    description:
      - The C(twinhull) command of the host as a list of the program and its first arguments.
      - It is needed only where Twinhull was installed in another place. Set it once for all modules with
        C(module_defaults) and the action group C(group/twinhull.ha.twinhull).
      - The default is C(/usr/local/bin/twinhull) on Linux, and
        C(C:\\Program Files\\Twinhull\\current\\python\\python.exe -X utf8 -m twinhull.cli) on Windows.
    type: list
    elements: str
notes:
  - The task runs C(twinhull ... --json) on the host over the connection that the play already has. No other port is opened,
    nothing is installed on the host for it, and Windows and Linux hosts are treated the same.
  - The command speaks to the node's own agent with the node's own certificate, so it must run as root on Linux
    (C(become=true)) and as an administrator on Windows (without C(become)).
  - A message begins with the site and the node, from the variables C(twinhull_site) and C(twinhull_node) when they are
    there, and otherwise with the host's name in the inventory.
  - While a task waits it shows a line of progress every few seconds. A lost connection or a restart of the agent is
    waited for until O(timeout_s).
  - In check mode, a host where Twinhull is not installed, not configured or not running yet cannot be asked. A module
    that changes things then reports a change and says which of the three it is. Otherwise the task fails.
"""
