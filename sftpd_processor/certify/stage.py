"""What the killed process works with: a throw-away state folder, a configuration, and handlers that keep a journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from sftpd_processor.certify.feed import NUMBER
from sftpd_processor.config.schema import toml
from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.points import VARIABLE

MOVED = "processed"
"""The folder, below the one that is read, to which files are moved."""
SETTLE_SECONDS = 0.2
REJECTED_EVERY = 7
"""The handler `picky` rejects the events whose number this divides."""

_FAILS = ("inboundMessage", "payment", "conversationClosed")
_PICKS = ("inboundMessage", "setStatus", "moveToQueue", "conversationAssignment")
HANDLERS: Mapping[str, tuple[str, ...] | None] = {"journal": None, "lines": None, "flaky": _FAILS, "picky": _PICKS}
"""The handlers, and the types of event that each gets; None: all."""
BUILTIN = "lines"
"""The one that is the built-in `jsonl`."""
PICKY = "picky"
"""The one that rejects events for good."""

_SECRETS = ("password", "private_key", "private_key_passphrase")
_NOT_OURS = {"cron", "host_keys", "exclude", "unknown_events", "partial", "max_file_events", *_SECRETS}

MODULE = '''\
"""Written by `sftpd-processor certify`: each call leaves a line (mark, event, attempt, key), in one write.

The marks: b when it begins, then e for its effect, f when it fails for now, r when it rejects the event.
"""

import os
from pathlib import Path

from sftpd_processor import Delivery, Event, Reject, Retry, handler

NUMBER = "@NUMBER@"


class Journal:
    def __init__(self, name: str) -> None:
        path = Path(__file__).with_name(f"{name}.journal")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.write(self._file, b"\\n")  # ends the line that a kill may have cut off

    def note(self, mark: str, event: Event, delivery: Delivery) -> int:
        number = (event.model_extra or {})[NUMBER]
        os.write(self._file, f"{mark} {number} {delivery.attempt} {delivery.idempotency_key}\\n".encode())
        return int(number)


JOURNAL, FLAKY, PICKY = Journal("journal"), Journal("flaky"), Journal("picky")


@handler(name="journal")
def journal(event: Event, delivery: Delivery) -> None:
    """Do it at once."""
    JOURNAL.note("b", event, delivery)
    JOURNAL.note("e", event, delivery)


@handler(@FAILS@, name="flaky")
def flaky(event: Event, delivery: Delivery) -> None:
    """Fail the first time for many, in two ways, and do it the second time."""
    number = FLAKY.note("b", event, delivery)
    if delivery.attempt == 1 and number % 3 == 0:
        FLAKY.note("f", event, delivery)
        raise Retry("not yet", after=0.05 * (number % 2))
    if delivery.attempt == 1 and number % 11 == 0:
        FLAKY.note("f", event, delivery)
        raise RuntimeError("this handler failed on purpose")
    FLAKY.note("e", event, delivery)


@handler(@PICKS@, name="picky")
def picky(event: Event, delivery: Delivery) -> None:
    """Reject some for good."""
    number = PICKY.note("b", event, delivery)
    if number % @EVERY@ == 0:
        PICKY.note("r", event, delivery)
        raise Reject("not wanted here")
    PICKY.note("e", event, delivery)
'''


@dataclass(slots=True)
class Stage:
    """The local folder, and what the killed process finds in it."""

    folder: Path
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def state(self) -> Path:
        """The throw-away state folder."""
        return self.folder / "state"

    @property
    def ledger(self) -> Path:
        """The throw-away ledger."""
        return self.state / "ledger.db"

    @property
    def log(self) -> Path:
        """What the processes said."""
        return self.folder / "said.log"

    @property
    def known_hosts(self) -> Path:
        """The host key that was verified."""
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.toml"

    def journal(self, handler: str) -> Path:
        """The file in which a handler leaves its traces."""
        return self.folder / f"{handler}.journal"

    def configure(self, settings: SourceSettings, **changes: object) -> None:
        """Write the configuration: the user's source with `changes`, and nothing secret."""
        module = MODULE.replace("@NUMBER@", NUMBER).replace("@EVERY@", str(REJECTED_EVERY))
        module = module.replace("@FAILS@", _arguments(_FAILS)).replace("@PICKS@", _arguments(_PICKS))
        (self.folder / "certify_handlers.py").write_text(module)
        tables = {
            "state": {"dir": "state"},
            "sources": [self._source(settings, changes)],
            "handlers": [_handler(name) for name in HANDLERS],
            "delivery": {"max_attempts": 1000, "backoff_seconds": 0.02, "backoff_max_seconds": 0.2},
        }
        self.config.write_text("".join(f"{name} = {toml(table)}\n" for name, table in tables.items()))

    def environment(self, kill_at: str | None = None) -> dict[str, str]:
        """The environment of a run that dies at `kill_at` (point:occurrence)."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("SFTPD_PROCESSOR")}
        return ours | self._secrets | ({VARIABLE: kill_at} if kill_at else {})

    def _source(self, settings: SourceSettings, changes: Mapping[str, object]) -> dict[str, object]:
        given = settings.model_dump(mode="json", exclude_unset=True, exclude=_NOT_OURS)
        own: dict[str, object] = {
            "type": settings.type, "include": ["*.json", "*.jsonl"], "move_to": MOVED, "poll_seconds": 0.5,
            "settle_seconds": SETTLE_SECONDS,
        }  # fmt: skip
        for name in _SECRETS:
            if isinstance(secret := getattr(settings, name, None), SecretStr):
                variable = f"CERTIFY_{name.upper()}"
                self._secrets[variable] = secret.get_secret_value()
                own[name] = {"env": variable}
        merged = {**given, **own, **changes}
        return {name: value for name, value in merged.items() if value is not None}


def _arguments(types: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in types)


def _handler(name: str) -> dict[str, object]:
    if name == BUILTIN:
        return {"name": name, "use": "jsonl", "options": {"path": f"{name}.journal"}}
    return {"name": name, "use": f"certify_handlers:{name}"}
