"""Settings of the archive: what holds when nothing is said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpd_processor.config.load import load_settings
from tests.unit.config_samples import directory, table, whys, write


def wrong(folder: Path, **keys: str) -> dict[str, str]:
    """What is wrong with such an [archive], by key."""
    found = whys(write(folder, directory() + table("[archive]", keys)))
    return {where.removeprefix("archive."): why for where, why in found.items()}


def test_defaults(tmp_path: Path) -> None:
    """Without the section a year is kept, compacted after a week, and duplicates are known for two."""
    made = load_settings(write(tmp_path, directory())).archive
    assert (made.compact_after_days, made.keep_days, made.keep_quarantine_days) == (7, 365, 365)
    assert (made.keep_dead_letters_days, made.keep_identities_days, made.upkeep_at) == (365, 730, "03:10")


def test_everything_may_be_kept_for_ever(tmp_path: Path) -> None:
    """0 is no age: it contradicts nothing."""
    keys = dict.fromkeys(["compact_after_days", "keep_days", "keep_quarantine_days", "keep_identities_days"], "0")
    made = load_settings(write(tmp_path, directory() + table("[archive]", keys))).archive
    assert (made.keep_days, made.keep_identities_days) == (0, 0)
    assert load_settings(write(tmp_path, directory() + "[archive]\nkeep_days = 0\n")).archive.keep_identities_days


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("keep_days", "-1", "must be 0 or more"),
        ("keep_days", "36501", "must be 36500 or less"),
        ("keep_days", "1.5", "must be a whole number"),
        ("compact_after_days", "true", "must be a whole number"),
        ("upkeep_at", '"3:10"', "must be a time of day such as 03:10"),
        ("upkeep_at", '"24:00"', "must be a time of day such as 03:10"),
        ("upkeep_at", '"03:10\\n"', "must be a time of day such as 03:10"),
        ("upkeep_at", "03:10:00", "must be"),
        ("keep", "5", "unknown key"),
    ],
)
def test_a_wrong_value_is_told(tmp_path: Path, key: str, value: str, why: str) -> None:
    """Each mistake is told at its key."""
    assert why in wrong(tmp_path, **{key: value})[key]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"keep_days": "100", "keep_identities_days": "99"}, True),
        ({"keep_identities_days": "364"}, True),
        ({"keep_days": "731"}, True),
        ({"keep_days": "100", "keep_identities_days": "100"}, False),
        ({"keep_days": "0", "keep_identities_days": "1"}, False),
        ({"keep_days": "1000", "keep_identities_days": "0"}, False),
    ],
)
def test_identities_outlive_the_archive(tmp_path: Path, keys: dict[str, str], told: bool) -> None:
    """What is archived must be known, also where one of the two ages is left as it is."""
    why = wrong(tmp_path, **keys).get("keep_identities_days", "")
    assert why.startswith("must not be less than keep_days") == told
