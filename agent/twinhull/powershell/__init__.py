"""Long-lived Windows PowerShell hosts that run the functions of `Twinhull.psm1`, and the errors they answer with."""

from .framing import Value
from .process import Engine
from .runner import Lane, PowerShell, PowerShellHosts

__all__ = ["Engine", "Lane", "PowerShell", "PowerShellHosts", "Value"]
