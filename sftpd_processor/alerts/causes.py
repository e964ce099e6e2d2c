"""A cause: one thing that is wrong, that people are told of, and that has an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings


class Key(NamedTuple):
    """Which cause it is."""

    kind: str
    """As in the settings: one of `CAUSES`."""
    subject: str
    """The source, the handler, the type of event, the setting; empty where there is only one."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is wrong now."""

    key: Key
    since: int
    """Microseconds since 1970."""
    why: str
    """One sentence: what is known of it. Holds no secret and no personal data."""
    level: int = 0
    """Of what grows: how many there are, ever."""


Check = Callable[[AlertSettings, Notes], Iterable[Cause]]
"""What is wrong now, by the settings of one alert and with what it has told already.

A cause that was told must go on being found until it is over. Raises `ProcessorError` when that cannot be told now.
"""

_WRONG = {
    "source": "source {} cannot be polled",
    "host_key": "source {} shows another host key",
    "quarantine": "source {}: new files in quarantine",
    "dead_letters": "handler {}: new dead letters",
    "breaker": "handler {} fails with everything",
    "silence": "no event of type {}",
    "disk": "the disk is nearly full",
    "expiry": "{} is about to expire",
    "ledger": "the ledger cannot be used",
}
_OVER = {
    "source": "source {} is polled again",
    "host_key": "source {} shows the right host key again",
    "quarantine": "source {}: no more files in quarantine",
    "dead_letters": "handler {}: no more dead letters",
    "breaker": "handler {} works again",
    "silence": "events of type {} come again",
    "disk": "the disk has room again",
    "expiry": "{} no longer expires soon",
    "ledger": "the ledger works again",
}
_ADVICE = {
    "source": "Its files wait on the server, and nothing is lost. It is tried again by itself; what to do about each"
    " message is in docs/operations.md, The server.",
    "host_key": "Nothing was sent, no password either. Ask the owner of the server before you change anything:"
    " docs/operations.md, Host keys.",
    "quarantine": "`sftpd-processor status` names them, `sftpd-processor why NAME` tells what is wrong with one:"
    " docs/operations.md, Quarantine.",
    "dead_letters": "`sftpd-processor status` names them, `sftpd-processor why NAME` tells what the handler said. When"
    " the cause is mended: `sftpd-processor retry --handler {}`.",
    "breaker": "See whether what it calls is up. It is tried with one delivery at a time; the others wait, and lose no"
    " attempt.",
    "silence": "See whether Webio still sends them: its hook, its export, the folder on the server.",
    "disk": "Make room. When it is full nothing more is taken; nothing is lost, and it goes on by itself.",
    "expiry": "Put a new one in its place, then reload the service; restart it if it is a credential of systemd. Until"
    " then the old one is in use.",
    "ledger": "Look at the disk or the database under it. Nothing is taken meanwhile, and nothing is lost:"
    " docs/operations.md, This machine.",
}


def headline(key: Key) -> str:
    """What is wrong, in a few words."""
    return _WRONG[key.kind].format(key.subject)


def ending(key: Key) -> str:
    """What is right again."""
    return _OVER[key.kind].format(key.subject)


def advice(key: Key) -> str:
    """What the person who is told should do."""
    return _ADVICE[key.kind].format(key.subject)
