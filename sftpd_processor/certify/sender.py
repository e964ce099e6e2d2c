"""Sending files while the command works: a thread that is told how many more there are to be."""

from __future__ import annotations

import threading

from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.feed import Feed
from sftpd_processor.certify.place import Place

_PORTION = 500  # files made and held at a time


class Sender:
    """Notes and sends files; what is released is sent in the background, in order."""

    def __init__(self, feed: Feed, place: Place, evidence: Evidence) -> None:
        self._feed = feed
        self._place = place
        self._evidence = evidence
        self._due = 0
        self._changed = threading.Condition()
        self._ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self.files = 0
        """Files sent."""

    def start(self) -> None:
        """Begin to send what is released."""
        self._thread.start()

    def release(self, files: int) -> None:
        """Send so many more; raises what went wrong with earlier ones."""
        with self._changed:
            self._heed()
            self._due += files
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all that was released is there; raises what went wrong."""
        with self._changed:
            while self._due and self._failure is None:
                self._changed.wait(1.0)  # now and then, so that Ctrl-C is heeded
            self._heed()

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _heed(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            while (count := self._next()) is not None:
                self._send(count)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _next(self) -> int | None:
        with self._changed:
            while not self._due and not self._ended:
                self._changed.wait()
            return None if self._ended else min(self._due, _PORTION)

    def _send(self, count: int) -> None:
        files = list(self._feed.take(count))
        self._evidence.sent(files)
        self._place.put(files)
        with self._changed:
            self.files += count
            self._due -= count
            self._changed.notify_all()
