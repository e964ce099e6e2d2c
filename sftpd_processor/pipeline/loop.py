"""A background loop: a thread that does one step after another, waits when there is nothing to do, and ends cleanly."""

from __future__ import annotations

import logging
import threading

from sftpd_processor.errors import ProcessorError

logger = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds after a step that failed


class Loop:
    """The base of every loop: `step`, and how long to wait when it found nothing to do, are the subclass's."""

    def __init__(self, name: str) -> None:
        """`name` is shown in logs and as the thread's name."""
        self._name = name
        self._signal = threading.Event()
        self._stopped = threading.Event()
        self._finishing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)

    def __str__(self) -> str:
        return self._name

    def step(self) -> bool:
        """Do a bounded piece of work; whether there was any, or some is under way."""
        raise NotImplementedError

    def patience(self) -> float | None:
        """Seconds to wait for a signal before the next step; None: as long as it takes."""
        return None

    def pause(self, error: ProcessorError) -> float:  # noqa: ARG002 - for those that tell errors apart
        """Seconds to leave things alone after `error`."""
        return _PAUSE

    def unfinished(self) -> bool:
        """Whether something under way must still be brought to its end before the loop may stop."""
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

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    @property
    def failure(self) -> str | None:
        """What is wrong, as long as steps fail."""
        return self._failure

    def _run(self) -> None:
        while not self.stopping or self.unfinished():
            self._signal.clear()
            try:
                worked = self.step()
            except ProcessorError as error:
                self._failed(error)
                if self._finishing:
                    return
                self._stopped.wait(self.pause(error))
                continue
            self._recovered()
            if self._finishing and not worked:
                return
            self._signal.wait(self.patience())

    def _failed(self, error: ProcessorError) -> None:
        """Said once; the same again is not news."""
        text = str(error)
        logger.log(logging.DEBUG if text == self._failure else logging.ERROR, "%s: %s", self._name, text)
        self._failure = text

    def _recovered(self) -> None:
        if self._failure is not None:
            logger.info("%s: works again", self._name)
            self._failure = None
