"""A session with a faulty server: what hangs is found out, what can come still comes, and no connection is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.sources import sftp
from sftpd_processor.sources.base import Entry, Miss
from sftpd_processor.sources.sftp import SftpSource
from sftpd_processor.sources.sftp_pipeline import TOO_SLOW
from tests.faulty_server import FaultyServer, Request, drop, hang, only
from tests.integration.opened_sources import files, listed, within
from tests.support import wait_until
from tests.unit.scripted_sftp import NAME, OPEN, READ, READDIR, named, packet, usual

TIMEOUT = 0.5
FOUR_LISTINGS = {f"{n:04d}.json": b"{}" for n in range(4_500)}  # more than is read ahead


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """A server with ten files; in the end, no connection is left."""
    with FaultyServer() as made:
        made.put({f"{n}.json": b"{}" for n in range(10)})
        yield made
        wait_until(lambda: not connections(), what="the connections to end")


@contextmanager
def opened(server: FaultyServer, **changes: Any) -> Iterator[SftpSource]:
    """The source that reads the server's folder."""
    changes = {"operation_timeout_seconds": TIMEOUT} | changes
    source = SftpSource(SftpSourceSettings.model_validate(server.source(**changes)))
    try:
        yield source
    finally:
        source.close()


def connections() -> list[threading.Thread]:
    """Those that this process holds."""
    return [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]


def jam(request: Request) -> bytes:
    """Hang, and with it everything else that is asked in this session, as in a server that works in order."""
    request.engine.rules = dict.fromkeys(request.engine.rules, lambda _number, _body: b"")
    return b""


def missed(results: list[tuple[Entry, bytes | Miss]]) -> dict[str, Miss]:
    """What did not come."""
    return {entry.name: content for entry, content in results if isinstance(content, Miss)}


@pytest.mark.parametrize("kind", [OPEN, READ])
@pytest.mark.parametrize("name", ["0.json", "5.json", "9.json"])
@pytest.mark.parametrize("fault", [hang, jam])
def test_one_file_that_hangs_costs_no_other(server: FaultyServer, kind: int, name: str, fault: Any) -> None:
    """Whether the server works in order or not, all other files come in the same fetch, over another connection."""
    server.faults[kind] = only(name.encode(), fault)
    with opened(server) as source, within(2 * TIMEOUT + 2):
        assert missed(source.fetch(files(source))) == {name: TOO_SLOW}


def test_what_came_is_kept_when_no_second_connection_is_to_be_had(server: FaultyServer) -> None:
    """A server that lets nobody in again, after a file hung, does not take back the files that it gave."""

    def last(request: Request) -> bytes:
        request.server.stage = "no subsystem"
        return jam(request)

    server.faults[READ] = only(b"5.json", last)
    with opened(server) as source:
        assert missed(source.fetch(files(source))) == {f"{n}.json": TOO_SLOW for n in range(5, 10)}
        with pytest.raises(SourceRefused, match="offers no SFTP"):
            listed(source)


def test_a_file_that_hung_is_not_asked_for_again_at_once(server: FaultyServer) -> None:
    """The next fetch leaves it alone, and so does not wait."""
    server.faults[READ] = only(b"5.json", jam)
    with opened(server) as source:
        entries = files(source)
        source.fetch(entries)
        server.touched.clear()
        with within(TIMEOUT):
            assert missed(source.fetch(entries)) == {"5.json": TOO_SLOW}
        assert b"/in/5.json" not in server.touched
        assert len(server.touched) == 9


def test_an_outage_is_not_held_against_the_files(server: FaultyServer) -> None:
    """When not one file came, the next look asks for all of them again, and gets them."""
    with opened(server) as source:
        server.faults[READ] = hang
        with pytest.raises(SourceUnavailable, match="no file was handed out in time: the server did not answer"):
            for batch in source.look():
                assert len(missed(source.fetch(batch))) == 10
        server.lift()
        assert missed(source.fetch(files(source))) == {}


def test_a_file_that_hangs_does_not_end_the_look(server: FaultyServer) -> None:
    """A long listing goes on over the connection that it began on; afterwards one connection is left."""
    server.put(FOUR_LISTINGS)
    server.faults[READ] = only(b"0003.json", hang)
    with opened(server) as source, within(20):
        came = [result for batch in source.look() for result in source.fetch(batch)]
        assert len(came) == len(FOUR_LISTINGS) + 10
        assert missed(came) == {"0003.json": TOO_SLOW}
        wait_until(lambda: len(connections()) == 1, what="the first connection to end")


def test_a_lost_connection_is_no_laggard(server: FaultyServer) -> None:
    """A connection that is cut in a fetch ends the verb; nobody is blamed, and the next one gets all files."""
    with opened(server) as source:
        entries = files(source)
        server.faults[READ] = only(b"5.json", drop)
        with pytest.raises(SourceUnavailable):
            source.fetch(entries)
        server.lift()
        assert missed(source.fetch(entries)) == {}


@pytest.mark.parametrize("name", [b"a-%d.json", b"a.json"])
def test_a_listing_without_end_is_refused(server: FaultyServer, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """New names for ever, or the same one again and again: after `MOST_ENTRIES` the look says so, and ends."""
    monkeypatch.setattr(sftp, "MOST_ENTRIES", 20_000)
    seen = [0]

    def endless(request: Request) -> bytes:
        seen[0] += 1
        names = b"".join(named(name % n if b"%" in name else name, usual(2)) for n in range(100))
        return packet(NAME, request.number, (100).to_bytes(4, "big") + names)

    server.faults[READDIR] = endless
    with opened(server) as source:
        with within(), pytest.raises(SourceRefused, match=r"'/in' does not end: more than 20,000 names came; check"):
            listed(source)
        assert seen[0] < 300
        server.lift()
        assert len(listed(source)) == 10


def test_many_connections_do_not_pile_up(server: FaultyServer) -> None:
    """Each session that is given up is closed: after failures the source holds one connection at most."""
    server.faults[OPEN] = hang
    with opened(server, operation_timeout_seconds=0.1) as source:
        entries = files(source)
        for _ in range(5):
            source.fetch(entries)
        wait_until(lambda: len(connections()) <= 1, what="the connections to end")
