"""How the service does, in one line for `systemctl status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sftpd_processor.errors import ProcessorError
from sftpd_processor.http.readiness import Wrong
from sftpd_processor.ledger.figures import Gauges
from sftpd_processor.pipeline.poller import Poller

_EVERY, _SELDOM = 10.0, 60.0  # seconds between two questions to the ledger, at least and at most
_SHARE = 1000  # and so many times what the last one took, so that they cost a thousandth of a core at most
_MOST_WRONG = 3


class Standing:
    """Puts the line together. Not safe to use from several threads."""

    def __init__(
        self,
        gauges: Callable[[], Gauges],
        failing: Callable[[], Sequence[Wrong]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gauges` reads what is open from the ledger; `failing` tells what fails now."""
        self._gauges = gauges
        self._failing = failing
        self._clock = clock
        self._backlog = ""
        self._ask_at = 0.0
        self.remark = ""
        """What is to be told besides, such as a configuration that was refused; empty when nothing is."""

    def line(self, pollers: Sequence[Poller]) -> str:
        """What is wrong or that nothing is, the last good poll, and what is still to do."""
        parts = [_told(self._failing()), self.remark, _last_poll(pollers), self._still_open()]
        return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts if part)

    def _still_open(self) -> str:
        """The backlog by the ledger, which is not asked more often than is cheap."""
        if (now := self._clock()) >= self._ask_at:
            with suppress(ProcessorError):  # then that is what is wrong, and told as such
                self._backlog = _backlog(self._gauges())
            took = self._clock() - now
            self._ask_at = now + took + min(max(_EVERY, _SHARE * took), _SELDOM)
        return self._backlog


def _told(wrong: Sequence[Wrong]) -> str:
    told = "; ".join(f"{part}: {' '.join(why.split())}" for part, why in wrong[:_MOST_WRONG])
    if len(wrong) > _MOST_WRONG:
        told += f"; and {len(wrong) - _MOST_WRONG} more, see the log"
    return f"wrong: {told}" if told else "all well"


def _last_poll(pollers: Sequence[Poller]) -> str:
    ends = [poller.last_good for poller in pollers if poller.last_good is not None]
    if not ends:
        return "no good poll yet"
    return f"last good poll {moment(time.time() - (time.monotonic() - max(ends)))}"


def _backlog(gauges: Gauges) -> str:
    deliveries = sum(sum(states.values()) for states in gauges.open.values())
    found = [
        (deliveries, "delivery open", "deliveries open"),
        (gauges.unarchived, "file to archive", "files to archive"),
    ]
    found += [(sum(gauges.waiting.values()), "file waits", "files wait")]
    found += [(sum(gauges.quarantined.values()), "file in quarantine", "files in quarantine")]
    found += [(sum(gauges.dead.values()), "dead letter", "dead letters")]
    told = [f"{number:,} {one if number == 1 else many}" for number, one, many in found if number]
    return ", ".join(told) or "nothing left to do"


def moment(at: float) -> str:
    """Seconds since 1970 as a time of day."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
