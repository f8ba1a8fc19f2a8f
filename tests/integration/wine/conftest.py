"""Windows Python under Wine; see tests/wine."""

from tests.wine.fixtures import make_prefix, windows_python

__all__ = ["make_prefix", "windows_python"]
