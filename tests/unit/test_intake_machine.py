"""Intake against a model: whatever is put, replaced, removed, polled or cut off, nothing is lost or taken twice."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Entry
from sftpd_processor.testing.memory import MemoryFile, MemorySource
from tests.ledger_samples import Site, array, event

_NAMES = st.sampled_from(["a.json", "b.json", "c.json", "d.jsonl"])
_ACTIONS = st.integers(0, 12)
_VERBS = st.sampled_from(["look", "fetch", "remove"])


class IntakeMachine(RuleBasedStateMachine):
    """`put` holds every event ever put; `before` what was on the server just before files were removed."""

    @initialize(batch=st.integers(1, 3))
    def begin(self, batch: int) -> None:
        """An empty folder and an empty ledger."""
        self.folder = Path(tempfile.mkdtemp())
        self.site = Site(self.folder)
        self.site.source = MemorySource("webio", batch=batch)
        self.site.restart(include=["*.json", "*.jsonl"])
        self.put: set[str] = set()
        self.before: dict[str, MemoryFile] = {}
        self.site.source.before["remove"] = self._watch

    def _watch(self) -> None:
        """Whatever is about to be removed must be in the ledger already, byte for byte."""
        self.before = dict(self.site.source.files)

    def _account(self) -> None:
        self._each_event_once()
        recorded = {sha for (sha,) in self.site.rows("SELECT sha256 FROM files WHERE state = 'recorded'")}
        for name, file in self.before.items():
            if name not in self.site.source.files:
                assert sha256(file.data).hexdigest() in recorded, f"{name} was removed unrecorded"
        self.before = {}

    @rule(name=_NAMES, action=_ACTIONS)
    def put_event(self, name: str, action: int) -> None:
        """A file arrives, over an older one of that name; the same event may come again."""
        self._arrive(name, event(str(action)), {str(action)})

    @rule(name=_NAMES, actions=st.lists(_ACTIONS, min_size=1, max_size=3))
    def put_several(self, name: str, actions: list[int]) -> None:
        """A file of several events."""
        events = [event(str(action)) for action in actions]
        self._arrive(name, array(*events), set(map(str, actions)))

    @rule(name=_NAMES, actions=st.lists(_ACTIONS, min_size=2, max_size=3))
    def put_lines(self, name: str, actions: list[int]) -> None:
        """A file of JSON Lines, which must settle."""
        self._arrive(name, b"\n".join(event(str(action)) for action in actions), set(map(str, actions)))

    @rule(name=_NAMES, action=_ACTIONS, cut=st.integers(0, 60))
    def put_half(self, name: str, action: int, cut: int) -> None:
        """The beginning of a file."""
        self._arrive(name, event(str(action))[:cut], set())

    def _arrive(self, name: str, data: bytes, actions: set[str]) -> None:
        self.site.source.put(name, data)
        self.put |= actions

    @rule(name=_NAMES)
    def take_away(self, name: str) -> None:
        """Somebody else removes a file."""
        self.site.source.files.pop(name, None)

    @rule(seconds=st.integers(0, 12))
    def poll(self, seconds: int) -> None:
        """A poll that comes to its end."""
        self.site.poll(after=seconds)
        self._account()
        for name, waiting in self.site.source.files.items():
            assert name.endswith(".jsonl") or not self._complete(waiting.data), "a complete document was left"

    @rule(verb=_VERBS, after=st.integers(0, 2))
    def crash(self, verb: str, after: int) -> None:
        """A poll that is cut off somewhere, and a new process on the same ledger."""
        lost = SourceUnavailable("lost")
        if verb == "look":
            self.site.source.fail("look", lost, after=after)
        elif verb == "fetch":
            self.site.source.fail("fetch", lost)
        else:
            self.site.source.fail("remove", lost)
        self._cut_off()

    @rule()
    def lose_the_answer(self) -> None:
        """The server removes the files, and the connection ends before it says so."""
        source = self.site.source
        remove = source.remove

        def lose(entries: Sequence[Entry]) -> NoReturn:
            remove(entries)
            raise SourceUnavailable("lost")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "remove", lose)
            self._cut_off()

    def _cut_off(self) -> None:
        with contextlib.suppress(SourceUnavailable):
            self.site.poll()
        self._account()
        for planned in self.site.source._failures.values():
            planned.clear()
        self.site.restart(include=["*.json", "*.jsonl"])

    def _each_event_once(self) -> None:
        """The ledger holds no event that was never put, and none twice; every look adds up."""
        found = [json.loads(body)["communicationActionId"] for (body,) in self.site.rows("SELECT body FROM events")]
        assert len(found) == len(set(found))
        assert set(found) <= self.put
        for look in self.site.looks():
            parts = ("recorded", "known", "waiting", "ignored", "vanished")
            if look["failure"] is None:
                assert look["listed"] == sum(look[part] for part in parts)

    def teardown(self) -> None:
        """After everything has settled, all that is on the server was taken, and the folder is empty."""
        if not hasattr(self, "site"):
            return
        left = {name for name in self.put if self._on_server(name)}
        self.site.poll()
        self.site.poll(after=11)
        self._account()
        assert self.site.source.files == {}
        found = {json.loads(body)["communicationActionId"] for (body,) in self.site.rows("SELECT body FROM events")}
        assert left <= found
        self.site.ledger.close()
        shutil.rmtree(self.folder)

    def _on_server(self, action: str) -> bool:
        return any(event(action) in file.data for file in self.site.source.files.values())

    @staticmethod
    def _complete(data: bytes) -> bool:
        try:
            json.loads(data)
        except ValueError:
            return False
        return True


IntakeMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=15,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestIntakeAgainstAModel = IntakeMachine.TestCase
TestIntakeAgainstAModel.__doc__ = (
    "No event is lost or recorded twice, and no file is removed before its bytes are recorded."
)
