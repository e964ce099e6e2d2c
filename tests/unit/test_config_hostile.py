"""Whatever is in the file or the environment, the answer is settings or a ConfigurationError."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftpd_processor.config.environment import overlay
from sftpd_processor.config.kinds import Place
from sftpd_processor.config.load import load_settings
from sftpd_processor.config.problems import problems_of
from sftpd_processor.config.schema import keys_at, toml
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import ConfigurationError
from tests.unit.characters import ENCODABLE
from tests.unit.config_samples import DIRECTORY, SFTP, problems, table, write

TABLES: dict[str, tuple[str | int, ...]] = {
    "[state]": ("state",),
    "[[sources]]": ("sources", 0),
    "[[handlers]]": ("handlers", 0),
    "[delivery]": ("delivery",),
}
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(ENCODABLE, max_size=20),
    st.sampled_from(["..", "/", "*", "sftp", "directory", "~", "0 0 * * *", "*/0 * * * *", "Europe", "x" * 5000]),
)
KEYS = st.sampled_from(["a", "env", "file", "credential", "name", "type"])
VALUES = st.recursive(
    SCALARS,
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(KEYS, deeper, max_size=3),
    max_leaves=6,
)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """TOML in which any keys of any section have any values."""
    text = ""
    for head, where in TABLES.items():
        base = draw(st.sampled_from([SFTP, DIRECTORY])) if head == "[[sources]]" else {}
        known = st.sampled_from([*keys_at(where), "unknown"])
        changes = draw(st.dictionaries(known, VALUES, max_size=6))
        text += table(head, base, **{key: toml(value) for key, value in changes.items()})
    return text


@given(configurations())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_values_give_settings_or_a_configuration_error(text: str) -> None:
    """Values of any type at any key raise nothing but a ConfigurationError whose text can be printed."""
    with tempfile.TemporaryDirectory() as folder:
        for problem in problems(write(Path(folder), text)):
            assert str(problem).encode()
            assert problem.where


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_configuration_error(content: bytes) -> None:
    """A file of any bytes is refused as a configuration, and as nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "")
        path.write_bytes(content)
        with pytest.raises(ConfigurationError):
            load_settings(path)


NAMES = st.lists(
    st.sampled_from(["STATE", "SOURCES", "HANDLERS", "0", "1", "99999", "HOST", "PASSWORD", "OPTIONS", "DIR", "", "É"]),
    min_size=1,
    max_size=5,
).map("__".join)


@given(st.dictionaries(NAMES, st.text(ENCODABLE, max_size=20) | VALUES.map(toml), max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_environment_gives_settings_or_problems(variables: dict[str, str]) -> None:
    """Variables of any name and value are laid over, or told as problems, and never raise."""
    from pydantic import ValidationError

    data: dict[str, Any] = {}
    origins, found = overlay(data, {f"SFTPD_PROCESSOR__{name}": value for name, value in variables.items()})
    assert len(origins) + len(found) == len(variables)
    try:
        Settings.model_validate(data, context=Place(Path("/nowhere"), {}))
    except ValidationError as error:
        assert all(str(problem) for problem in problems_of(error, origins))
