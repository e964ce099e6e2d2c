from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import Handler, Outcome
from sftpd_processor.handlers.jsonl import line
from tests.handler_items import EVENT, built, item, live, mistakes

DONE = Outcome("done")


def lines(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def jsonl(tmp_path: Path) -> Handler:
    return built("jsonl", tmp_path, options={"path": "out/events.jsonl"})


def test_log_writes_one_line_without_the_customer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The line tells type, source, file and key; nothing of the message or the person."""
    caplog.set_level(logging.INFO)
    handler = built("log", tmp_path)
    assert handler.handle([item(), live(item(2))]) == [DONE, DONE]
    assert [record.getMessage() for record in caplog.records] == [
        "event type=inboundMessage source=webio file=1.json key=key-1",
        "event type=inboundMessage source=live file=- key=key-2",
    ]


def test_log_keeps_a_hostile_type_on_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown type can neither forge a line nor flood the log."""
    caplog.set_level(logging.INFO)
    built("log", tmp_path).handle([item(type="evil\nERROR forged " + "x" * 5000)])
    (message,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in message
    assert len(message) < 300


def test_jsonl_writes_the_event_as_sent_and_its_delivery(tmp_path: Path) -> None:
    """One line per event, in order, in a folder made when absent, readable by owner and group only."""
    handler = jsonl(tmp_path)
    assert handler.handle([item(1), live(item(2))]) == [DONE, DONE]
    handler.close()
    path = tmp_path / "out/events.jsonl"
    first, second = lines(path)
    assert first == {
        "event": {**EVENT, "communicationActionId": "1"},
        "delivery": {
            "key": "key-1",
            "handler": "crm",
            "origin": "sftp",
            "source": "webio",
            "file": "1.json",
            "received_at": "2026-01-31T09:15:00+00:00",
            "attempt": 1,
        },
    }
    assert second["delivery"]["file"] is None
    assert path.stat().st_mode & 0o137 == 0


def test_jsonl_embeds_the_bytes_themselves(tmp_path: Path) -> None:
    """Numbers keep their digits and unknown fields stay; line breaks between tokens and a BOM do not."""
    body = b'\xef\xbb\xbf{\r\n  "type": "payment",\n  "amount": 12.500000000000000001 }\n'
    written = line(item(body=body))
    assert written.startswith(b'{"event": {    "type": "payment",   "amount": 12.500000000000000001 }, ')
    assert written.count(b"\n") == 1
    assert json.loads(written)["event"]["type"] == "payment"


def test_jsonl_starts_on_a_fresh_line_after_a_crash(tmp_path: Path) -> None:
    """Half a line left by a crash stays the only one that does not parse."""
    path = tmp_path / "out/events.jsonl"
    path.parent.mkdir()
    path.write_text('{"event": {"ty')
    jsonl(tmp_path).handle([item()])
    torn, whole = path.read_text().splitlines()
    assert torn == '{"event": {"ty'
    assert json.loads(whole)["delivery"]["key"] == "key-1"


def test_jsonl_follows_a_rotation(tmp_path: Path) -> None:
    """A file that was moved away gets nothing more; the next batch starts a new one."""
    handler = jsonl(tmp_path)
    path = tmp_path / "out/events.jsonl"
    handler.handle([item(1)])
    path.rename(path.with_suffix(".1"))
    handler.handle([item(2)])
    assert [each["delivery"]["key"] for each in lines(path.with_suffix(".1"))] == ["key-1"]
    assert [each["delivery"]["key"] for each in lines(path)] == ["key-2"]


def test_jsonl_takes_a_torn_batch_back_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that did not fit leaves nothing behind, is retried whole, and then written once."""
    handler = jsonl(tmp_path)
    handler.handle([item(1)])
    real, room = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", write)
    outcomes = handler.handle([item(2), item(3)])
    monkeypatch.undo()
    path = tmp_path / "out/events.jsonl"
    assert [outcome.state for outcome in outcomes] == ["retry", "retry"]
    assert outcomes[0].detail.endswith("No space left on device")
    assert [each["delivery"]["key"] for each in lines(path)] == ["key-1"]
    assert handler.handle([item(2), item(3)]) == [DONE, DONE]
    assert [each["delivery"]["key"] for each in lines(path)] == ["key-1", "key-2", "key-3"]


def test_jsonl_on_a_device_that_is_always_full_is_retried(tmp_path: Path) -> None:
    """The kernel's own "no space left" is an outcome, not an exception."""
    (tmp_path / "full").symlink_to("/dev/full")
    handler = built("jsonl", tmp_path, options={"path": "full"})
    (outcome,) = handler.handle([item()])
    assert outcome.state == "retry"


def test_jsonl_counts_nothing_done_before_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fsync per batch, and a batch whose fsync fails is retried."""
    handler = jsonl(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert handler.handle([item(number) for number in range(100)]) == [DONE] * 100
    assert len(synced) == 1

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    assert handler.handle([item(101)])[0].state == "retry"
    monkeypatch.undo()
    assert len(lines(tmp_path / "out/events.jsonl")) == 100


def test_jsonl_writes_whole_lines_from_many_threads(tmp_path: Path) -> None:
    """Batches of several threads follow one another; none is torn or lost."""
    handler = jsonl(tmp_path)

    def work(start: int) -> None:
        for number in range(start, start + 100, 10):
            handler.handle([item(each) for each in range(number, number + 10)])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 800, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    keys = [each["delivery"]["key"] for each in lines(tmp_path / "out/events.jsonl")]
    assert sorted(keys) == sorted(f"key-{number}" for number in range(800))


def halfway(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], error: OSError | None) -> threading.Thread:
    """Act in another thread once half of the next write is done; the write then goes on, or fails with `error`."""
    real, other = os.write, threading.Thread(target=action)

    def write(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", fails if error else real)
        written = real(fd, data[: len(data) // 2])
        other.start()
        other.join(0.2)  # ends by then, unless it waits for its turn
        return written

    def fails(_fd: int, _data: bytes) -> int:
        monkeypatch.setattr(os, "write", real)
        raise error or OSError

    monkeypatch.setattr(os, "write", write)
    return other


def test_jsonl_opened_beside_the_old_one_breaks_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that a reload opens while the old one is in the middle of a line leaves that line whole."""
    old = jsonl(tmp_path)
    opening = halfway(monkeypatch, lambda: jsonl(tmp_path).close(), None)
    assert old.handle([item(1)]) == [DONE]
    opening.join(10)
    assert [each["delivery"]["key"] for each in lines(tmp_path / "out/events.jsonl")] == ["key-1"]


def test_jsonl_takes_back_only_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the handler beside it wrote meanwhile stays when a batch that did not fit is taken back."""
    old, new = jsonl(tmp_path), jsonl(tmp_path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    writing = halfway(monkeypatch, lambda: new.handle([item(2)]), full)
    assert old.handle([item(1)])[0].state == "retry"
    writing.join(10)
    assert [each["delivery"]["key"] for each in lines(tmp_path / "out/events.jsonl")] == ["key-2"]


def test_jsonl_that_cannot_write_is_a_configuration_error(tmp_path: Path) -> None:
    """A path that is a folder is told at the start, with the option's name."""
    (tmp_path / "taken").mkdir()
    found = mistakes(lambda: built("jsonl", tmp_path, options={"path": "taken"}))
    assert "Is a directory" in found["handler 'crm', options.path"]
