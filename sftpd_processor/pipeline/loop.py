"""A background loop: a thread that does one step after another, waits when there is nothing to do, and ends cleanly."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod

from sftpd_processor.errors import InternalError, ProcessorError
from sftpd_processor.repeats import Repeats

logger = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds after a step that failed
_SHORT_PAUSE = 0.5  # the same, while stopping


class Loop(ABC):
    """The base of every loop; what a step is, is the subclass's."""

    def __init__(self, name: str, **fields: str) -> None:
        """`name` is shown in logs and as the thread's name; `fields` go with its lines in the log."""
        self._name = name
        self._fields = fields
        self._repeats = Repeats()
        self._signal = threading.Event()
        self._stopped = threading.Event()
        self._finishing = False
        self._failure: ProcessorError | None = None
        self.busy_since: float | None = None
        """When the step began that runs now (`time.monotonic`); None between two steps."""
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)

    def __str__(self) -> str:
        return self._name

    @abstractmethod
    def step(self) -> float | None:
        """Do a bounded piece of work.

        Returns how many seconds to wait for a signal before the next step: 0 when there may be more to do at once,
        None to wait as long as it takes.
        """

    def pause(self, error: ProcessorError) -> float:  # noqa: ARG002 - for those that tell errors apart
        """Seconds to leave things alone after `error`."""
        return _PAUSE

    def unfinished(self) -> bool:
        """Whether something is under way that must be brought to its end before the loop may end."""
        return False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._signal.set()

    def finish(self) -> None:
        """End as soon as there is nothing left to do, or the first step fails."""
        self._finishing = True
        self._signal.set()

    def stop(self) -> None:
        """Take nothing more and end when what is under way has ended."""
        self._stopped.set()
        self._signal.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; whether it came."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def complaint(self) -> str | None:
        """What is wrong although its steps go well; None when nothing is."""
        return None

    @property
    def ended(self) -> bool:
        """Whether its thread has run and runs no more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    @property
    def failure(self) -> ProcessorError | None:
        """What is wrong, as long as steps fail."""
        return self._failure

    def _run(self) -> None:
        while not self.stopping or self.unfinished():
            self._signal.clear()
            last = self._finishing  # a whole step follows `finish`: it finds what was recorded just before
            try:
                wait = self._step()
            except ProcessorError as error:
                if self._failed(error):
                    return
                continue
            except Exception as error:  # noqa: BLE001 - a mistake of ours must not end it
                if self._failed(InternalError(f"internal error: {type(error).__name__}"), error):
                    return
                continue
            self._recovered()
            if last and wait != 0 and not self.unfinished():
                return
            self._signal.wait(wait)

    def _step(self) -> float | None:
        self.busy_since = time.monotonic()
        try:
            return self.step()
        finally:
            self.busy_since = None

    def _failed(self, error: ProcessorError, mistake: Exception | None = None) -> bool:
        """Say it, if it is news, and leave things alone for a while; whether this is the end."""
        text = "internal error; please report it" if mistake else str(error).removeprefix(f"{self._name}: ")
        if said := self._repeats.failed(text, type(mistake or error).__name__):
            self._say(logging.ERROR, said, mistake)
        self._failure = error
        if self.stopping:
            time.sleep(_SHORT_PAUSE)  # what is under way must still be brought to its end
        elif not self._finishing:
            self._stopped.wait(self.pause(error))
        return self._finishing

    def _recovered(self) -> None:
        if said := self._repeats.works():
            self._say(logging.INFO, said)
        self._failure = None

    def _say(self, level: int, said: str, mistake: Exception | None = None) -> None:
        fields = {**self._fields, "failures": self._repeats.failures}
        logger.log(level, "%s: %s", self._name, said, extra=fields, exc_info=mistake)
