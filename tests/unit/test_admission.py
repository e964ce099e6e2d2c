"""Which entries of a listing are taken: every reason not to, and no way around the rule for names."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.pipeline.admission import admission, shown, unsafe_name
from sftpd_processor.sources.base import Entry
from tests.unit.config_samples import FINGERPRINT

NAMES = st.text(st.characters(codec=None, categories=None), max_size=300)


def why_not(name: str = "a.json", size: int = 10, *, regular: bool = True, **settings: Any) -> str | None:
    """Why an entry is ignored by a source with these settings."""
    table = {
        "name": "webio",
        "host": "sftp.example.com",
        "username": "acme",
        "password": "a password",
        "host_keys": [FINGERPRINT],
        "folder": "/webhooks",
        **settings,
    }
    return admission(SftpSourceSettings.model_validate(table))(Entry(name, size, 0, regular))


def test_an_ordinary_file_is_taken() -> None:
    """A regular file with a plain name that matches is admitted."""
    assert why_not() is None


def test_what_is_not_a_regular_file_is_ignored() -> None:
    """A folder, a link or a device is never taken, however well its name fits."""
    assert "not a regular file" in str(why_not(regular=False))


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_stands_for_a_folder_is_ignored(name: str) -> None:
    """The folder itself and its parent are not files, whatever type the server gives them."""
    assert why_not(name, include=["*"], exclude=[]) == "its name is empty or stands for a folder"


@pytest.mark.parametrize("name", ["/etc/passwd.json", "../a.json", "a/b.json", "a\\b.json", "..\\a.json", "a/"])
def test_a_name_with_a_separator_is_ignored(name: str) -> None:
    """A name can never lead out of its folder, on this system or on another one."""
    assert why_not(name) == "its name holds a path separator"


@pytest.mark.parametrize("character", ["\x00", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"])
def test_a_name_with_a_control_character_is_ignored(character: str) -> None:
    """A name cannot break a line of a log or command a terminal."""
    assert why_not(f"a{character}b.json") == "its name holds a control character"


def test_a_name_that_is_not_utf8_is_ignored() -> None:
    """Bytes that are not UTF-8 cannot be kept in the ledger or shown."""
    assert why_not("a\udcff.json") == "its name is not UTF-8"


@pytest.mark.parametrize(("name", "taken"), [("a" * 250 + ".json", True), ("a" * 251 + ".json", False)])
def test_a_name_may_have_255_bytes(name: str, taken: bool) -> None:
    """255 bytes is what file systems allow."""
    assert (why_not(name) is None) is taken


def test_the_length_of_a_name_is_counted_in_bytes() -> None:
    """A name of 130 characters is too long when it takes more than 255 bytes."""
    assert why_not("é" * 126 + ".json") == "its name is longer than 255 bytes"
    assert why_not("é" * 125 + ".json") is None


@pytest.mark.parametrize("name", [".a.json", "a.json.tmp", "a.part", "a.json.filepart"])
def test_hidden_and_partial_files_are_ignored(name: str) -> None:
    """By default the names that uploading clients use for unfinished files are excluded."""
    assert why_not(name, include=["*"]) == "its name matches `exclude`"


def test_exclude_goes_before_include() -> None:
    """A name that matches both is not taken."""
    assert why_not("a.json", include=["*.json"], exclude=["a*"]) == "its name matches `exclude`"


@pytest.mark.parametrize(
    ("pattern", "name", "taken"),
    [
        ("*.json", "a.jsonl", False),
        ("*.json", "json", False),
        ("*.json", ".json", True),
        ("*.json", "a.JSON", False),
        ("event-[0-9].json", "event-7.json", True),
        ("event-[0-9].json", "event-77.json", False),
        ("event-?.json", "event-é.json", True),
        ("*", "anything at all", True),
        ("a.json", "aXjson", False),
        ("a|b", "a", False),
        ("a", "ab", False),
    ],
)
def test_include_patterns_match_the_whole_name(pattern: str, name: str, taken: bool) -> None:
    """`*`, `?` and `[…]` have their usual meaning, case counts, and everything else stands for itself."""
    expected = None if taken else "its name does not match `include`"
    assert why_not(name, include=[pattern], exclude=[]) == expected


def test_any_of_several_patterns_will_do() -> None:
    """A name is taken when one pattern of `include` matches, and ignored when one of `exclude` does."""
    settings: dict[str, Any] = {"include": ["*.json", "*.jsonl"], "exclude": ["x*", "y*"]}
    names = ["a.json", "a.jsonl", "x.json", "y.json", "a.txt"]
    assert [why_not(name, **settings) is None for name in names] == [True, True, False, False, False]


def test_a_large_file_is_ignored() -> None:
    """A file over `max_file_bytes` is ignored with both numbers; one of just that size is taken."""
    assert why_not(size=100, max_file_bytes=100) is None
    assert why_not(size=101, max_file_bytes=100) == "101 bytes are more than max_file_bytes (100)"


def test_an_empty_file_is_taken() -> None:
    """An empty file may be half-written: it is admitted, and its content decides."""
    assert why_not(size=0) is None


@given(NAMES)
@example("..")
@example("a\\..\\b")
@example("\ud800")
def test_no_dangerous_name_is_safe(name: str) -> None:
    """A name that passes has no separator, no control character, is no `..`, is UTF-8 and at most 255 bytes."""
    if unsafe_name(name) is None:
        assert not set(name) & {"/", "\\"}
        assert not [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
        assert name not in ("", ".", "..")
        assert 1 <= len(name.encode()) <= 255


@given(
    st.text(
        st.characters(categories=("L", "N", "P", "S", "Zs", "M"), exclude_characters="/\\"), min_size=1, max_size=60
    )
)
def test_every_ordinary_name_is_safe(name: str) -> None:
    """Letters, digits, signs, blanks and emoji of all scripts are fine: only what is named above is refused."""
    assert unsafe_name(name) is None or name in (".", "..")


@given(NAMES)
def test_a_shown_name_is_printable(name: str) -> None:
    """Whatever the name, it can be shown on a terminal and kept as UTF-8."""
    text = shown(name)
    assert text.isprintable()
    text.encode()


@given(NAMES, NAMES)
def test_two_names_are_never_shown_alike(one: str, other: str) -> None:
    """Escaping is reversible, so an unsafe name cannot pose as a taken one."""
    assert (shown(one) == shown(other)) is (one == other)


@pytest.mark.parametrize(("one", "other"), [("a\n", "a\\n"), ("\udcff", "\\udcff"), ("\\", "\\\\"), ("\x1b", "\\x1b")])
def test_an_escape_and_its_likeness_are_told_apart(one: str, other: str) -> None:
    """A character that is escaped and a name that spells out the escape are shown differently."""
    assert shown(one) != shown(other)
