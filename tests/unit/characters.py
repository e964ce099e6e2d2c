"""The characters that hypothesis puts into texts."""

from __future__ import annotations

from hypothesis import strategies as st

# Those of `st.text()`, which tries to encode each of a million to know them: 10 s on a fresh machine.
ENCODABLE = st.characters(exclude_categories=["Cs"])
