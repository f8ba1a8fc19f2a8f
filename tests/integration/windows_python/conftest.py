"""Prefixes with Windows Python."""

from tests.wine.fixtures import windows_python

__all__ = ["windows_python"]
