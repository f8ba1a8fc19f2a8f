"""Looking whether a resource is well, and asking a third party whether a node may go on alone."""

from .base import Checker, CheckResult
from .factory import MakeGuestChecker, make_checkers
from .runner import CheckerRunner
from .schedule import CheckerSettings

__all__ = ["CheckResult", "Checker", "CheckerRunner", "CheckerSettings", "MakeGuestChecker", "make_checkers"]
