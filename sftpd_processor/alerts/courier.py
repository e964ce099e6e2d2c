"""Sends the messages of one alert, in a short-lived process, and knows which address is still owed which."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sftpd_processor.alerts.aside import spoken
from sftpd_processor.alerts.message import Message
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.measures import Measures

logger = logging.getLogger(__name__)

SECONDS = 12.0
"""How long all of one sending may take: with the next, less than a stop of the daemon waits."""
GRACE = 3.0
"""Seconds for the process to begin and to end."""
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0  # seconds after a failure; doubles
_OWED_SECONDS = 86_400.0  # then an address that never answers is given up
_MOST_OWED = 50
_COMMAND = (sys.executable, "-P", "-m", "sftpd_processor.alerts.send")

Failures = dict[tuple[int, int], str | None]
"""By letter and address: why it did not arrive; None when it did. One that is missing did not."""


@dataclass(slots=True)
class Letter:
    """A message, and to whom it is owed."""

    message: Message
    owed: list[int]
    """Numbers of addresses, as they are in the settings."""
    since: float = field(default_factory=time.monotonic)


class Courier:
    """Of one alert: one process at a time, however many messages there are."""

    def __init__(
        self,
        settings: AlertSettings,
        wake: Callable[[], None] = lambda: None,
        *,
        measures: Measures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` is called when a sending has ended; `clock` counts seconds."""
        self._settings = settings
        self._wake = wake
        self._measures = measures or Measures()
        self._clock = clock
        self._owed: list[Letter] = []
        self._pause = 0.0
        self._not_before = 0.0
        self._nobody = False
        self._said: dict[int, str] = {}
        self._sending: _Sending | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being sent, or its result has not been taken."""
        return self._sending is not None

    def next_try(self) -> float | None:
        """Seconds until what is owed is sent again; None when nothing is, or when it is being sent."""
        return max(0.0, self._not_before - self._clock()) if self._owed and not self.busy else None

    def may_send(self) -> bool:
        """Whether news may be sent now: not while something is under way, nor soon after nobody was reached."""
        return not self.busy and (not self._nobody or self._clock() >= self._not_before)

    def send(self, news: Sequence[Message]) -> None:
        """Begin to send news, and with them what is still owed; `taken` tells how it ended."""
        everyone = range(len(self._settings.urls))
        letters = [Letter(message, [*everyone], self._clock()) for message in news]
        owed = self._owed if self._clock() >= self._not_before else []
        if owed or letters:
            self._sending = _Sending(self._settings, [*owed, *letters], len(letters), self._wake)

    def taken(self) -> list[bool] | None:
        """When a sending has ended: of each of its news, whether at least one address took it. Else None."""
        if self._sending is None or not self._sending.ended:
            return None
        sending, self._sending = self._sending, None
        failed, worked = self._settle(sending)
        self._rest(failed, nobody=not worked)
        self._tell(failed, worked)
        news = sending.letters[len(sending.letters) - sending.news :]
        arrived = [len(letter.owed) < len(self._settings.urls) for letter in news]
        # What nobody has is made anew when it is sent again, by what is wrong then.
        self._owed += [letter for letter, came in zip(news, arrived, strict=True) if came]
        young = [it for it in self._owed if it.owed and self._clock() - it.since < _OWED_SECONDS]
        self._owed = young[-_MOST_OWED:]
        return arrived

    def _settle(self, sending: _Sending) -> tuple[dict[int, str], set[int]]:
        """Strike out who was reached; returns who was not, and who was."""
        failed: dict[int, str] = {}
        worked: set[int] = set()
        for number, letter in enumerate(sending.letters):
            for at in [*letter.owed]:
                why = sending.result.get((number, at), "no answer in time")
                if why is None:
                    letter.owed.remove(at)
                    worked.add(at)
                else:
                    failed[at] = why
                self._measures.count("alerts_failed" if why else "alerts_sent", self._settings.name)
        return failed, worked

    def _rest(self, failed: dict[int, str], *, nobody: bool) -> None:
        self._nobody = nobody
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE) if failed else 0.0
        self._not_before = self._clock() + self._pause

    def _tell(self, failed: dict[int, str], worked: set[int]) -> None:
        """In the log, each failure once; addresses by their number, since they hold passwords."""
        name, total = self._settings.name, len(self._settings.urls)
        for at, why in failed.items():
            if self._said.get(at) != why:
                logger.error("alert %s: address %d of %d: %s; tried again by itself", name, at + 1, total, why)
        for at in sorted(worked - failed.keys() & self._said.keys()):
            logger.info("alert %s: address %d of %d: works again", name, at + 1, total)
        self._said = {at: why for at, why in self._said.items() if at not in worked} | failed


class _Sending:
    """One run of the process, waited for by a thread."""

    def __init__(self, settings: AlertSettings, letters: Sequence[Letter], news: int, wake: Callable[[], None]) -> None:
        """The last `news` of `letters` are new."""
        self.letters = letters
        self.news = news
        self.result: Failures = {}
        self.ended = False
        self._urls = [url.get_secret_value() for url in settings.urls]
        self._wake = wake
        threading.Thread(target=self._run, name=f"alert-{settings.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = delivered(self.letters, self._urls)
        finally:
            self.ended = True
            self._wake()


def delivered(letters: Sequence[Letter], urls: Sequence[str]) -> Failures:
    """Send them all, and wait for it; the addresses never are arguments, nor in a file."""
    order = {
        "seconds": SECONDS,
        "letters": [{**letter.message._asdict(), "urls": [urls[at] for at in letter.owed]} for letter in letters],
    }
    try:
        lines = spoken(_COMMAND, order, SECONDS + GRACE)
    except OSError as error:
        why = f"the process that sends cannot be started: {error.strerror}"
        return {(number, at): why for number, letter in enumerate(letters) for at in letter.owed}
    found: Failures = {}
    for line in lines.splitlines():
        number, at, why = json.loads(line)
        found[number, letters[number].owed[at]] = why
    return found
