"""The time-outs of a Windows host's disks and iSCSI initiator, fitted to its modules: `python -m twinhull.agent.initiator`.

`fit` raises what is too low for the modules of cluster.yml and keeps the old values, `show` says what `fit` would do,
`restore` puts the old values back. Each prints JSON. A playbook calls it; Windows reads the values when it boots.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

from twinhull import config as configuration
from twinhull.attach import windows_timers as timers
from twinhull.attach.windows_timers import Registry, Timers
from twinhull.config import AttachKind, ClusterConfig
from twinhull.errors import TwinhullError

FAILED = 1
USAGE = 2


def needed_s(cluster: ClusterConfig) -> int:
    """What the time-outs must be at least for every module that is mounted by the initiator; 0 where there is none. Pure."""
    waits = [
        timers.needed_s(module.timeout_s, cluster.witness.timeout_s)
        for module in cluster.modules.values()
        if module.export.attach is not AttachKind.NONE
    ]
    return max(waits, default=0)


def told(seen: Timers, needed: int, *, changed: bool) -> dict[str, object]:
    """What a playbook reads. Pure.

    Args:
        seen: what is set now.
        needed: seconds.
        changed: something was changed, or would be.
    """
    reboot = needed > 0 and (changed or not seen.active)
    return {**timers.told(seen), "needed_s": needed, "changed": changed, "reboot": reboot}


def run(words: Sequence[str], registry: Registry, cluster: Callable[[], ClusterConfig]) -> dict[str, object]:
    """Do what the command line says.

    Args:
        cluster: reads cluster.yml.

    Raises ValueError for another command; LookupError where there is no initiator; OSError, ConfigError.
    """
    before = timers.look(registry)
    if list(words) == ["restore"]:
        after = timers.restore(registry)
        return told(after, 0, changed=after != before)
    if list(words) not in (["fit"], ["show"]):
        raise ValueError(words)
    needed = needed_s(cluster())
    low = before.least_s() < needed
    if words[0] == "show" or not needed:
        return told(before, needed, changed=low)
    return told(timers.set_timers(registry, needed), needed, changed=low)


def answer(words: Sequence[str], registry: Registry, cluster: Callable[[], ClusterConfig]) -> tuple[int, str]:
    """The command's exit code, and what it says: JSON when that is 0. Arguments as for `run`."""
    try:
        return 0, json.dumps(run(words, registry, cluster))
    except ValueError:
        return USAGE, str(__doc__)
    except (LookupError, OSError, TwinhullError) as error:
        return FAILED, f"The time-outs of the iSCSI initiator stay as they are: {error}"


def here() -> ClusterConfig:
    """The configuration of this host. Raises ConfigError."""
    node = configuration.load_node(configuration.DEFAULT_NODE_CONFIG)
    return configuration.load_cluster(node.cluster_config, node)


if sys.platform == "win32" and __name__ == "__main__":
    code, text = answer(sys.argv[1:], timers.HostRegistry(), here)
    (sys.stderr if code else sys.stdout).write(text + "\n")
    sys.exit(code)
