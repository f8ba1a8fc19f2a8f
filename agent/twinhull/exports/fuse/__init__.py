"""The volume as one file, served through the kernel's FUSE device by the worker's own loop."""

from .export import FuseExport
from .hardening import sit_under_page_cache
from .mounts import abort_stale

__all__ = ["FuseExport", "abort_stale", "sit_under_page_cache"]
