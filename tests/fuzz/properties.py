"""What is true of `parse`, whatever the bytes are: checked for each fuzzed input, each seed and each hostile file."""

from __future__ import annotations

from unicodedata import category
from zoneinfo import ZoneInfo

from sftpd_processor.events import faults as words
from sftpd_processor.events import models
from sftpd_processor.events.identity import canonical, conversation_key
from sftpd_processor.events.parse import Parsed, ParsedEvent, Rejection, parse, parse_event

ZONE = ZoneInfo("Europe/Dublin")
_MOST_FAULTS = 20
_MOST_CHARACTERS = 400
_LONGEST_COPY = 11


def check(raw: bytes, most_events: int = 10_000) -> Parsed | Rejection:
    """Assert all of it for one input; the outcome by default."""
    lenient = parse(raw, ZONE, most_events=most_events)
    strict = parse(raw, ZONE, accept_partial=False, most_events=most_events)
    picky = parse(raw, ZONE, accept_unknown=False, most_events=most_events)
    _check_modes(lenient, strict, picky)
    if isinstance(lenient, Rejection):
        _check_faults(lenient, raw)
        return lenient
    if lenient.rejected is not None:
        _check_faults(lenient.rejected, raw)
    assert 0 < len(lenient.events) <= most_events
    for event in lenient.events:
        _check_event(event)
    positions = [event.position for event in lenient.events]
    assert positions == sorted(set(positions))
    return lenient


def _check_modes(lenient: Parsed | Rejection, strict: Parsed | Rejection, picky: Parsed | Rejection) -> None:
    """Without partial files the answer is the same, or the faults alone; known types alone are some of all."""
    if isinstance(lenient, Rejection):
        assert strict == lenient
        assert isinstance(picky, Rejection)
        return
    if isinstance(strict, Rejection):
        assert strict == lenient.rejected
    else:
        assert lenient.rejected is None
        assert _keys(strict) == _keys(lenient)
    if isinstance(picky, Parsed):
        assert _keys(picky) <= _keys(lenient)
        assert not any(type(each.event) is models.UnknownEvent for each in picky.events)


def _keys(parsed: Parsed) -> set[tuple[int, str]]:
    return {(event.position, event.identity) for event in parsed.events}


def _check_event(parsed: ParsedEvent) -> None:
    """What the ledger keeps of an event is enough to have it again, and can be kept by any database."""
    assert 0 < len(parsed.identity) <= 200
    assert parsed.identity.isascii()
    assert not {category(character) for character in parsed.event.type} & {"Cc", "Zl", "Zp"}
    key = conversation_key(parsed.event)
    assert key is None or (0 < len(key) <= 200 and "\0" not in key and key.encode())
    date = parsed.event.date_created
    assert date is None or date.timestamp() is not None
    assert canonical(canonical(parsed.body)) == canonical(parsed.body)
    assert type(parse_event(parsed.body, ZONE)) is type(parsed.event)
    again = parse(parsed.body, ZONE)
    assert isinstance(again, Parsed)
    assert [(event.identity, event.body) for event in again.events] == [(parsed.identity, parsed.body)]


def _check_faults(rejection: Rejection, raw: bytes) -> None:
    """Faults are few, short, fit on a line of a terminal, and repeat nothing of the file."""
    assert 0 < len(rejection.faults) <= _MOST_FAULTS
    assert rejection.total >= len(rejection.faults)
    for fault in rejection.faults:
        told = str(fault)
        assert fault.where
        assert fault.why
        assert len(told) <= _MOST_CHARACTERS
        assert told.isprintable()
        assert not copied(told, raw)


def copied(told: str, raw: bytes) -> list[str]:
    """The runs of 12 characters and more in what is told of a file that stand in the file and are not our own."""
    text = raw.decode("utf-8", "replace")
    return [run for run in _runs(told) - _OWN_WORDS if run in text]


def _runs(text: str) -> set[str]:
    return {text[at : at + _LONGEST_COPY + 1] for at in range(len(text) - _LONGEST_COPY)}


def _own_words() -> set[str]:
    """Every run that faults may hold because it is ours, though a file may hold it too."""
    names = [field.alias or name for name, field in models.Event.model_fields.items()]
    own = [*words._FIELDS.values(), *words._SYNTAX.values(), *words._BEGINNINGS.values(), models._DATE_EXPECTED]
    own += [f"$.{name}: {why}" for name in [*names, "body", "dateCreated", "communicationActionId"] for why in own]
    return {run for text in own for run in _runs(text)}


_OWN_WORDS = _own_words()
