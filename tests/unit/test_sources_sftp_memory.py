"""What a source remembers of a server's faults: enough not to be fooled twice, and not for ever."""

from __future__ import annotations

from sftpd_processor.sources.base import Entry, Miss
from sftpd_processor.sources.sftp_memory import LEFT_ALONE, TIMES_BACK, Ghosts, Laggards, Refusals

A, B, C, D, E = FILES = [Entry(f"{name}.json", 2, 0, regular=True) for name in "abcde"]
REFUSED = Miss("refused", "the server said: no way")


class Clock:
    """Seconds, as a test sets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_laggard_is_left_alone_for_a_while_only() -> None:
    """After `LEFT_ALONE` seconds the file is asked for again; a change of size or time makes it another one at once."""
    clock = Clock()
    laggards = Laggards(clock)
    laggards.add([A])
    assert laggards.among([A._replace(size=3), A._replace(mtime=1)]) == set()
    clock.now = LEFT_ALONE - 0.1
    assert laggards.among(FILES) == {A}
    clock.now = LEFT_ALONE
    assert laggards.among(FILES) == set()


def test_a_file_can_be_forgiven() -> None:
    """When it proves to be the server's fault, files are asked for again at once."""
    laggards = Laggards()
    laggards.add(FILES)
    laggards.forgive(FILES)
    assert laggards.among(FILES) == set()


def look(ghosts: Ghosts, *entries: Entry) -> None:
    """A look that lists these."""
    ghosts.look_begins()
    ghosts.listed(entries)


def test_a_ghost_is_a_file_that_is_always_there_again() -> None:
    """Only a file that was said to be gone `TIMES_BACK` times, and each time was listed by the next look, is one."""
    ghosts = Ghosts()
    for _ in range(TIMES_BACK):
        assert A not in ghosts
        ghosts.gone([A, B])
        look(ghosts, A, C)
    assert [entry in ghosts for entry in (A, B, C)] == [True, False, False]


def test_a_file_that_comes_back_later_is_no_ghost() -> None:
    """A person may put a file back as often as they like, when a look found it gone in between."""
    ghosts = Ghosts()
    for _ in range(2 * TIMES_BACK):
        ghosts.gone([A])
        look(ghosts)
        look(ghosts, A)
    assert A not in ghosts


def test_each_refusal_is_news_once() -> None:
    """A file that is refused at every look is told once; what else happens to files is no news."""
    refusals = Refusals()
    refusals.note([(A, REFUSED), (B, b"{}"), (C, Miss("vanished", "gone")), (D, Miss("changed", "it grew"))])
    refusals.note([(A, REFUSED)])
    assert refusals.news() == "1 of the files could not be read (the first, a.json: the server said: no way)"
    refusals.note([(A, REFUSED)])
    assert refusals.news() is None
    refusals.note([(A, REFUSED), (E, REFUSED), (B, REFUSED)])
    assert refusals.news() == "2 of the files could not be read (the first, e.json: the server said: no way)"
