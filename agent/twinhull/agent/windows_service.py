"""The agent as a Windows service: `python -m twinhull.agent.windows_service`, started by the service manager alone.

It is called running when the agent is at work, and stopped with an error when it could not begin, so that the service's
recovery actions start it again. When the host shuts down, the modules are handed over first. Source: Service Control
Handler Function, SERVICE_ACCEPT_PRESHUTDOWN (learn.microsoft.com, services/service-control-handler-function).
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

assert sys.platform == "win32"

import servicemanager
import win32service
import win32serviceutil

from twinhull.errors import TwinhullError

if TYPE_CHECKING:
    from .agent import Agent

NAME: Final = "twinhull-agent"
DEFECT: Final = 70
_SPECIFIC_ERROR: Final = 1066
_START_HINT_MS: Final = 60_000
_PROGRESS_HINT_MS: Final = 30_000
_PROGRESS_S: Final = 5.0


class AgentService(win32serviceutil.ServiceFramework):  # type: ignore[misc]
    """One agent's life between two calls of the service manager."""

    _svc_name_ = NAME
    _svc_display_name_ = "Twinhull Agent"

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self._lock = threading.Lock()
        self._agent: Agent | None = None
        self._told_to_end = False
        self._host_goes_down = False
        self._over = threading.Event()

    # ---- what the service manager calls ----------------------------------------------------------

    def GetAcceptedControls(self) -> int:  # noqa: N802 - pywin32's name
        """Stop, and the shutdown of the host before other services are told."""
        return int(super().GetAcceptedControls()) | int(win32service.SERVICE_ACCEPT_PRESHUTDOWN)

    def SvcOtherEx(self, control: int, _event_type: int, _data: Any) -> None:  # noqa: N802 - pywin32's name
        """The host shuts down."""
        if control == win32service.SERVICE_CONTROL_PRESHUTDOWN:
            self._host_goes_down = True
            self.SvcStop()

    def SvcStop(self) -> None:  # noqa: N802 - pywin32's name
        """Have the agent end; its workers go on, unless the host shuts down."""
        self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, _PROGRESS_HINT_MS)
        with self._lock:
            self._told_to_end = True
            if self._agent is not None:
                self._agent.end()

    def SvcRun(self) -> None:  # noqa: N802 - pywin32's name
        """The whole life."""
        self.ReportServiceStatus(win32service.SERVICE_START_PENDING, _START_HINT_MS)
        code, why = DEFECT, ""
        try:
            # Imported here, because the service manager gives a new process only seconds to speak to it.
            from twinhull.config import DEFAULT_NODE_CONFIG

            from .main import serve

            code = serve(DEFAULT_NODE_CONFIG, self)
        except TwinhullError as error:
            code, why = error.exit_code, str(error)
        except Exception as error:  # noqa: BLE001 - told to the event log, and to the manager by the exit code
            why = f"The agent ends because of a defect: {type(error).__name__}: {error}"
        self._over.set()
        if code:
            servicemanager.LogErrorMsg(why)
            self.ReportServiceStatus(win32service.SERVICE_STOPPED, 0, _SPECIFIC_ERROR, code)

    # ---- what the agent's main calls -------------------------------------------------------------

    def takes(self, agent: Agent) -> None:
        """Remember whom to end; one that was told to end meanwhile ends at once."""
        with self._lock:
            self._agent = agent
            if self._told_to_end:
                agent.end()

    def ready(self) -> None:
        """It is at work."""
        self.ReportServiceStatus(win32service.SERVICE_RUNNING)

    def ending(self) -> None:
        """Say so now and again while it lasts, so that the service manager goes on waiting."""
        threading.Thread(target=self._tell_progress, name="progress", daemon=True).start()

    def host_goes_down(self) -> bool:
        """Whether the modules are to be handed over."""
        return self._host_goes_down

    def _tell_progress(self) -> None:
        while not self._over.wait(_PROGRESS_S):
            self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, _PROGRESS_HINT_MS)


def main() -> int:
    """Serve the service manager until the service has stopped."""
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(AgentService)
    servicemanager.StartServiceCtrlDispatcher()
    return 0


if __name__ == "__main__":
    sys.exit(main())
