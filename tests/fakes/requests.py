"""Where a host's requests go, as far as it looks at that."""

from __future__ import annotations


class FakeRequests:
    """The mirror as `worker.host` sees it; `owes` as long as a write of a former export is under way."""

    def __init__(self) -> None:
        self.owes = False
        self.forsaken = 0

    def forsake(self) -> None:
        """An export is gone."""
        self.forsaken += 1
