"""The local connection, with a cable that can be pulled: a file holds how many commands that ask for a job are lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection

DOCUMENTATION = """
name: flaky
short_description: local, with a cable that can be pulled
description: For tests.
extends_documentation_fragment: [connection_pipelining]
"""


class Connection(LocalConnection):  # type: ignore[misc]
    """Loses as many looks at jobs as the file named by FLAKY_LOSSES says."""

    transport = "flaky"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> Any:
        """Raises AnsibleConnectionFailure while the cable is pulled."""
        losses = Path(os.environ["FLAKY_LOSSES"])
        left = int(losses.read_text()) if losses.exists() else 0
        if left > 0 and " job " in cmd:
            losses.write_text(str(left - 1))
            raise AnsibleConnectionFailure("the cable is pulled")
        return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
