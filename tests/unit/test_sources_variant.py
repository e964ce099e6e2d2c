"""Other names for a file whose name is taken."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sftpd_processor.sources.base import variant

SUFFIX = "abcd1234"
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=255).filter(
    lambda name: len(name.encode()) <= 255
)
TURNS = st.integers(0, 25)
LONGEST = st.integers(60, 255)


@pytest.mark.parametrize(
    ("name", "turn", "expected"),
    [
        ("event.json", 0, "event.json"),
        ("event.json", 1, "event.abcd1234.json"),
        ("event.json", 2, "event.abcd1234-2.json"),
        ("event.json", 20, "event.abcd1234-20.json"),
        ("event", 1, "event.abcd1234"),
        ("event.", 1, "event.abcd1234."),
        (".hidden", 1, ".hidden.abcd1234"),
        ("a.tar.gz", 1, "a.tar.abcd1234.gz"),
        ("v1.2 of the report", 1, "v1.abcd1234.2 of the report"),
        ("a." + "x" * 33, 1, "a." + "x" * 33 + ".abcd1234"),
    ],
)
def test_the_suffix_goes_before_the_ending(name: str, turn: int, expected: str) -> None:
    """The ending stays last, so that patterns and programs know the file's kind; a long ending is none."""
    assert variant(name, SUFFIX, turn) == expected


@given(NAMES, TURNS, LONGEST)
def test_a_variant_fits_and_is_utf8(name: str, turn: int, longest: int) -> None:
    """No variant takes more bytes than allowed, and shortening never cuts a character in two."""
    assert len(variant(name, SUFFIX, turn, longest).encode()) <= longest


@given(NAMES)
def test_turn_zero_is_the_name_itself(name: str) -> None:
    """A file whose name fits and is free keeps it."""
    assert variant(name, SUFFIX, 0) == name


@given(NAMES, TURNS, TURNS)
def test_each_turn_gives_another_name(name: str, one: int, other: int) -> None:
    """The search for a free name never tries the same name twice."""
    assume(one != other)
    assert variant(name, SUFFIX, one) != variant(name, SUFFIX, other)


@given(st.text("aé😀", min_size=1, max_size=80), st.text("jsonl", min_size=1, max_size=10), TURNS, LONGEST)
def test_the_ending_is_kept(stem: str, ending: str, turn: int, longest: int) -> None:
    """However long the name is, its ending survives."""
    assert variant(f"{stem}.{ending}", SUFFIX, turn, longest).endswith(f".{ending}")


@given(st.text("aé😀", min_size=1, max_size=300), TURNS)
def test_the_beginning_is_kept(stem: str, turn: int) -> None:
    """What is shortened is the end of the stem: the name is still found by how it begins."""
    made = variant(f"{stem}.json", SUFFIX, turn)
    kept = made.removesuffix(".json").split(".")[0]
    assert kept
    assert stem.startswith(kept)


@given(NAMES, st.integers(1, 25))
def test_a_name_of_255_bytes_is_made_room_in(name: str, turn: int) -> None:
    """The suffix is always there in full, also when the name already fills the space."""
    assert f".{SUFFIX}" in variant(name * 255, SUFFIX, turn)
