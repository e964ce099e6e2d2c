"""What people read: one subject line, and a few lines for each cause."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from sftpd_processor.alerts.causes import Cause, Key, advice, ending, headline
from sftpd_processor.ledger.alerts import Noted
from sftpd_processor.ledger.records import moment

_LONGEST = 500  # characters of one line
_MOST = 25  # causes in one message
_MICROS = 1_000_000


class Message(NamedTuple):
    """One message, as it is sent to every address of an alert."""

    title: str
    body: str
    kind: Literal["failure", "success", "info"]
    """What a chat or a pager makes of it: a colour, an icon, an incident."""


class Sender(NamedTuple):
    """Who sends it, so that people with several of them know which one it is."""

    alert: str
    state_dir: Path

    @property
    def host(self) -> str:
        """The machine's name."""
        return socket.gethostname()


def wrong(sender: Sender, causes: Sequence[Cause]) -> Message:
    """What is wrong, and what to do."""
    lines: list[str] = []
    for cause in causes[:_MOST]:
        lines += [
            _capital(headline(cause.key)),
            f"  since {_at(cause.since)}: {cause.why}",
            f"  {advice(cause.key)}",
            "",
        ]
    lines += _more(len(causes))
    lines.append("Each is told once. You hear again when it is over.")
    title = f"{_where(sender)}: {_title([headline(cause.key) for cause in causes], 'things are wrong')}"
    return Message(_line(title), _body([*lines, _signature(sender)]), "failure")


def over(sender: Sender, ended: Sequence[Noted], now: int) -> Message:
    """What is over."""
    lines: list[str] = []
    for row in ended[:_MOST]:
        key = Key(row.cause, row.subject)
        since = row.noted_at if row.since is None else row.since
        lines.append(f"{_capital(ending(key))}, after {_lasted(now - since)} (since {_at(since)})")
    lines += _more(len(ended))
    what = _title([ending(Key(row.cause, row.subject)) for row in ended], "things are right again")
    return Message(_line(f"{_where(sender)}: recovered: {what}"), _body([*lines, "", _signature(sender)]), "success")


def test(sender: Sender) -> Message:
    """To see whether it arrives."""
    lines = ["This is only a test: nothing is wrong.", "", _signature(sender)]
    return Message(_line(f"{_where(sender)}: test of the alert {sender.alert}"), _body(lines), "info")


def _where(sender: Sender) -> str:
    return f"sftpd-processor on {sender.host}"


def _signature(sender: Sender) -> str:
    return f"Alert {sender.alert}, machine {sender.host}, state folder {sender.state_dir}"


def _title(each: Sequence[str], many: str) -> str:
    if len(each) == 1:
        return each[0]
    return f"{len(each)} {many}: {each[0]}, {each[1]}{', …' if len(each) > 2 else ''}"


def _more(number: int) -> list[str]:
    return [f"and {number - _MOST} more", ""] if number > _MOST else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _body(lines: Sequence[str]) -> str:
    return "\n".join(_line(line) for line in lines)


def _line(text: str) -> str:
    """A server's own words may be in it: nothing in them may begin another line, or act upon anything."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _at(micros: int) -> str:
    return f"{moment(micros):%Y-%m-%d %H:%M} UTC"


def _lasted(micros: int) -> str:
    minutes = max(0, micros) // (60 * _MICROS)
    if minutes < 1:
        return "less than a minute"
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"
