"""`twinhull.ha.cluster`: the configuration of a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_apply import apply_config, shown_config
from ..plugin_utils.twinhull_arguments import CLUSTER
from ..plugin_utils.twinhull_config import plain
from ..plugin_utils.twinhull_host import Host


class ActionModule(TwinhullAction):
    """Has the agents of both nodes take a configuration, or reads it."""

    ARGUMENTS = CLUSTER

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError, or TaskError for what no configuration can hold."""
        if options["state"] == "gathered":
            config = shown_config(host)
            return {"changed": False, "message": "The configuration was read.", "config": config}
        try:
            wanted = plain(options["config"])
        except ValueError as error:
            raise TaskError(f"The option config cannot be sent: {error}. Nothing was applied.") from error
        return apply_config(host, shown_config(host), wanted, check_mode=self.check_mode)
