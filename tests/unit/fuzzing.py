"""What the fuzzing tests share: values that no program of ours would send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20)
)
json_values: st.SearchStrategy[Any] = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
TOO_DEEP = "[" * 20_000
HUGE_NUMBER = "9" * 10_000


def odd_objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with some of these members, of any kind."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=8), json_values, max_size=len(names) + 1)
