"""A source that is slow, but gets on, shows it: nobody is to take it for one that hangs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.sources import sftp, sftp_jobs, sftp_pipeline
from sftpd_processor.sources.base import Move
from sftpd_processor.sources.sftp import SftpSource
from tests.unit.scripted_sftp import FOLDER, OPEN, READ, REMOVE, RENAME, ScriptedSftp, entries

SMALL = {f"{n}.json": b"{}" for n in range(1000)}
LARGE = {"a.json": b"x" * 20_000_000}


class Dawdling(ScriptedSftp):
    """Takes `pause` seconds of its own clock for one kind of request, and notes how still the source was by then."""

    def __init__(self, files: dict[str, bytes], kind: int, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(files)
        self.now = 1000.0
        self.stillness: list[float] = []
        for module in (sftp, sftp_pipeline, sftp_jobs):
            monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(sftp, "login", lambda _settings: SimpleNamespace(close=lambda: None))
        monkeypatch.setattr(sftp, "sftp_channel", lambda _client, _settings: self)
        table = {
            "name": "webio",
            "type": "sftp",
            "host": "127.0.0.1",
            "username": "me",
            "password": "secret",
            "folder": FOLDER,
            "host_keys": ["SHA256:" + "A" * 43],
            "in_flight": 1,
        }
        self.source = SftpSource(SftpSourceSettings.model_validate(table))
        self.rules[kind] = lambda _number, _body: self._dawdle(pause)

    def monotonic(self) -> float:
        return self.now

    def _dawdle(self, pause: float) -> None:
        self.now += pause
        self.stillness.append(self.now - self.source.moved_at)


@pytest.mark.parametrize(("files", "kind", "pause"), [(SMALL, READ, 0.4), (LARGE, READ, 1.6)])
def test_a_slow_fetch_gets_on_with_each_answer(
    files: dict[str, bytes], kind: int, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand small files at 0.4 s each, or 20 MB at 20 KB a second: many minutes, and never still for long."""
    server = Dawdling(files, kind, pause, monkeypatch)
    results = server.source.fetch(entries(files))
    assert {entry.name: data for entry, data in results} == files
    assert server.now > 1000 + 300
    assert max(server.stillness[1:]) <= 2 * pause


@pytest.mark.parametrize("kind", [RENAME, REMOVE])
def test_a_slow_disposal_gets_on_with_each_answer(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand files that the server moves or deletes at 0.4 s each, likewise."""
    server = Dawdling(SMALL, kind, 0.4, monkeypatch)
    if kind == RENAME:
        server.source.move([Move(entry, "x") for entry in entries(SMALL)])
    else:
        server.source.remove(entries(SMALL))
    assert len(server.stillness) == 1000
    assert server.now > 1000 + 300
    assert max(server.stillness[1:]) <= 2 * 0.4


def test_silence_is_not_getting_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are sent, and a session that is given up, count for nothing: only answers do, and they stay."""
    server = Dawdling(SMALL, OPEN, 0.0, monkeypatch)
    server.source.remove(entries(SMALL)[:1])
    answered = server.source.moved_at
    server.now += 50
    server.rules[OPEN] = lambda _number, _body: b""
    assert all(not isinstance(data, bytes) for _, data in server.source.fetch(entries(SMALL)[1:3]))
    assert server.source.moved_at == answered == 1000.0
