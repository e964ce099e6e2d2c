"""Disposal: what is done at the source with recorded files, and what is said when it may not be done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.sources.base import Entry, Miss
from tests.ledger_samples import Site, event

_DENIED = Miss("refused", "the server said: permission denied")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An intake whose source deletes what is recorded."""
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING]


def test_delete_removes_and_notes_it(site: Site) -> None:
    """The file is gone at the source, and the ledger says what was done."""
    site.source.put("1.json", event())
    site.poll()
    assert site.source.files == {}
    assert site.source.moved == {}
    assert site.rows("SELECT disposal, disposed_at IS NOT NULL FROM files") == [("deleted", 1)]


def test_move_keeps_the_bytes_and_never_overwrites(site: Site) -> None:
    """A name taken in the target folder gets the beginning of the content's sum; the ledger notes where it is."""
    site.restart(after="move")
    site.source.put("1.json", event("1"))
    site.poll()
    site.source.put("1.json", event("2"))
    site.poll()
    assert sorted(file.data for file in site.source.moved.values()) == [event("1"), event("2")]
    (second,) = site.rows("SELECT disposal, sha256 FROM files ORDER BY id DESC LIMIT 1")
    assert second[0] == f"moved to moved/1.{second[1][:8]}.json"
    assert site.source.files == {}


def test_the_folder_of_moved_files_is_no_entry(site: Site) -> None:
    """The folder that files are moved into is not counted among the ignored; a file of that name is."""
    site.restart(after="move", move_to="done/acme")
    site.source.also = [Entry("done", 4096, 5, regular=False), Entry("done2", 4096, 5, regular=False)]
    counts = site.poll()
    assert (counts.listed, counts.ignored) == (1, 1)
    site.source.also = [Entry("done", 4, 5, regular=True)]
    assert site.poll().ignored == 1


def test_keep_leaves_the_files_and_the_poll_ends(site: Site) -> None:
    """`after = "keep"`: each file is taken once, nothing is done at the source, and a poll comes to its end."""
    site.restart(after="keep")
    for number in range(3):
        site.source.put(f"{number}.json", event(str(number)))
    assert site.poll().known == 3
    assert site.poll().known == 3
    assert len(site.looks()) == 3
    assert [verb for verb, names in site.source.calls if names] == ["fetch"]
    assert len(site.source.files) == 3


def test_invalid_files_are_disposed_of_too(site: Site) -> None:
    """Their bytes are in the ledger as well, so that they do not stay in the way."""
    site.source.put("bad.json", b"no event")
    site.poll()
    site.poll(after=11)
    assert site.source.files == {}
    assert site.rows("SELECT verdict, disposal FROM files") == [("invalid", "deleted")]


def test_when_all_are_refused_it_is_said_once_and_files_are_kept(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The account may not delete: one error with what to do, then the source goes on as with `keep`."""
    for number in range(3):
        site.source.put(f"{number}.json", event(str(number)))
        site.source.miss("remove", f"{number}.json", _DENIED, times=100)
    for _ in range(3):
        site.poll()
    site.source.put("9.json", event("9"))
    site.poll()
    ((level, text),) = _said(caplog)
    assert level == logging.ERROR
    assert "permission denied" in text
    assert "keep" in text
    assert [verb for verb, names in site.source.calls if verb == "remove" and names] == ["remove"]
    assert site.rows("SELECT count(*) FROM events") == [(4,)]
    assert len(site.source.files) == 4


def test_a_restart_tries_again(site: Site) -> None:
    """With the right given meanwhile, the next process disposes of what stayed."""
    site.source.put("1.json", event())
    site.source.miss("remove", "1.json", _DENIED)
    site.poll()
    site.restart()
    site.poll()
    assert site.source.files == {}


def test_a_file_that_is_refused_alone_is_tried_at_the_next_look(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The others go, that one stays known and is not taken again; the next look tries again."""
    site.source.put("1.json", event("1"))
    site.source.put("2.json", event("2"))
    site.source.miss("remove", "1.json", _DENIED, times=1)
    site.poll()
    ((level, text),) = _said(caplog)
    assert level == logging.WARNING
    assert "could not be deleted" in text
    assert site.source.files == {}
    assert site.rows("SELECT count(*) FROM files") == [(2,)]


def test_a_refusal_of_the_only_file_left_does_not_end_disposal(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """One file that may not be removed, listed alone, does not prove that none may: the next file is removed."""
    site.source.put("1.json", event("1"))
    site.source.put("2.json", event("2"))
    site.source.miss("remove", "1.json", _DENIED, times=100)
    site.poll()
    site.source.put("3.json", event("3"))
    site.poll()
    assert set(site.source.files) == {"1.json"}
    assert all(level == logging.WARNING for level, _ in _said(caplog))


def test_the_texts_are_grammatical_for_each_way(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What is said of a refused move is "moved", of a refused deletion "deleted"."""
    for after in ("move", "delete"):
        site.restart(after=after)
        site.source.put(f"{after}.json", event(after))
        site.source.miss("move" if after == "move" else "remove", f"{after}.json", _DENIED)
        site.poll()
        site.source.files.clear()
    (_, moved), (_, deleted) = _said(caplog)
    assert "no file can be moved" in moved
    assert "no file can be deleted" in deleted


def test_a_file_gone_before_its_disposal_is_no_failure(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else removed it: nothing to say, and nothing is noted as done here."""
    site.source.put("1.json", event())
    site.source.before["remove"] = site.source.files.clear
    site.poll()
    assert _said(caplog) == []
    assert site.rows("SELECT disposal FROM files") == [(None,)]
    assert not site.poll().listed
