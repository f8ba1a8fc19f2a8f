"""Lets the collection be imported by plain pytest too; ansible-test brings an importer of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[5]

if "ansible_collections" not in sys.modules and not any(
    type(finder).__name__ == "_AnsibleCollectionFinder" for finder in sys.meta_path
):
    sys.path.insert(0, str(COLLECTIONS))
    importlib.invalidate_caches()
