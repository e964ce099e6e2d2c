"""The pretend Webio: repeatable, true to the documented samples, and as odd as asked for."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections import Counter

import pytest

from sftpd_processor.testing.webio import DEFAULT_MIX, KINDS, PretendFile, Shares, Webio

ALL_ODD = Shares(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


def events_of(file: PretendFile) -> list[dict[str, str]]:
    if file.kind == "lines":
        return [json.loads(line) for line in file.data.splitlines()]
    content = json.loads(file.data)
    return content if isinstance(content, list) else [content]


def test_the_same_seed_makes_the_same_files() -> None:
    """Two Webios of one seed write the same names and bytes, another seed writes others."""
    first, again, other = (list(Webio(seed).files(200, ALL_ODD)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_stream_can_be_taken_in_parts() -> None:
    """Two calls of files() carry on where the first ended."""
    webio = Webio(1)
    assert [*webio.files(30), *webio.files(30)] == list(Webio(1).files(60))


def test_every_kind_and_every_type_comes() -> None:
    """With all shares set and the default mix, each kind of file and each event type is there."""
    files = list(Webio(3).files(3_000, ALL_ODD))
    assert {file.kind for file in files} == set(KINDS)
    assert {event["type"] for file in files if file.kind == "event" for event in events_of(file)} == set(DEFAULT_MIX)


def test_shares_are_kept() -> None:
    """A share of a tenth is about a tenth of many files."""
    kinds = Counter(file.kind for file in Webio(4).files(10_000, ALL_ODD))
    assert all(850 < kinds[kind] < 1_150 for kind in KINDS if kind != "event")


def test_names_are_unique() -> None:
    """No file overwrites another, whatever its kind."""
    names = [file.name for file in Webio(5).files(3_000, ALL_ODD)]
    assert len(set(names)) == len(names)
    assert re.fullmatch(r"[a-zA-Z]+_\d{8}_\d{6}_\d{6}\.jsonl?", names[0])


def test_values_are_strings_and_numbers_are_fictional() -> None:
    """Every value is a JSON string, and every phone number is one of those set aside for drama."""
    for file in Webio(6).files(500):
        for event in events_of(file):
            assert all(isinstance(value, str) for value in event.values())
            assert re.fullmatch(r"447700900\d{3}", event["outboundChannelAddress"])
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", event["dateCreated"])


def test_a_status_update_follows_its_message() -> None:
    """Most status updates have the id, conversation and number of a messageSend that came before them."""
    sent: dict[str, dict[str, str]] = {}
    known = total = 0
    for file in Webio(7).files(2_000):
        event = events_of(file)[0]
        if event["type"] == "messageSend":
            sent[event["communicationActionId"]] = event
        elif event["type"] == "messageStatusUpdate":
            total += 1
            before = sent.get(event["communicationActionId"])
            known += before is not None and before["conversationId"] == event["conversationId"]
            assert "body" not in event
    assert total > 500
    assert known > total * 0.9


def test_plain_events_are_all_different() -> None:
    """No plain event has the identity of another: the same id twice in one type, or the same content."""
    seen: Counter[tuple[str, str | bytes]] = Counter()
    for file in Webio(8).files(5_000):
        event = events_of(file)[0]
        seen[event["type"], event.get("communicationActionId") or file.data] += 1
    assert seen.most_common(1)[0][1] == 1


def test_a_duplicate_has_the_bytes_of_an_earlier_file() -> None:
    """A duplicate is an earlier file's bytes under a new name."""
    earlier: set[bytes] = set()
    duplicates = 0
    for file in Webio(9).files(1_000, Shares(duplicates=0.2)):
        if file.kind == "duplicate":
            duplicates += 1
            assert file.data in earlier
        earlier.add(file.data)
    assert duplicates > 100


def test_a_conflict_has_a_known_id_and_another_body() -> None:
    """A conflict repeats type and id of an earlier message with another content."""
    earlier: dict[tuple[str, str], str] = {}
    conflicts = 0
    for file in Webio(10).files(1_000, Shares(conflicts=0.2)):
        event = events_of(file)[0]
        key = (event["type"], event.get("communicationActionId", ""))
        if file.kind == "conflict":
            conflicts += 1
            assert earlier[key] != event["body"]
        elif "body" in event:
            earlier[key] = event["body"]
    assert conflicts > 100


@pytest.mark.parametrize("kind", ["half", "broken"])
def test_half_and_broken_files_are_no_events(kind: str) -> None:
    """Nothing half-written or broken reads as one JSON object with a type."""
    shares = Shares(half=1) if kind == "half" else Shares(broken=1)
    for file in Webio(11).files(300, shares):
        try:
            content = json.loads(file.data)
        except (ValueError, RecursionError):
            continue
        assert not (isinstance(content, dict) and "type" in content)


def test_the_mix_chooses_the_types() -> None:
    """Types that are not in the mix never come, and weights are kept."""
    types = Counter(events_of(file)[0]["type"] for file in Webio(12, {"payment": 3, "setStatus": 1}).files(2_000))
    assert set(types) == {"payment", "setStatus"}
    assert 2.5 < types["payment"] / types["setStatus"] < 3.6


def test_conversations_bound_the_ids() -> None:
    """Events are spread over exactly as many conversations as asked for."""
    ids = {events_of(file)[0]["conversationId"] for file in Webio(13, conversations=7).files(500)}
    assert len(ids) == 7


def test_memory_stays_flat() -> None:
    """Ten times the files take no more memory."""
    webio = Webio(14)
    tracemalloc.start()
    try:
        peaks = []
        for count in (1_000, 10_000):
            tracemalloc.reset_peak()
            for _ in webio.files(count, Shares(duplicates=0.1)):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ({"half": 1.5}, "half = 1.5"),
        ({"broken": -0.1}, "broken"),
        ({"half": 0.6, "lines": 0.6}, "add up to 1.2"),
    ],
)
def test_impossible_shares_are_refused(shares: dict[str, float], says: str) -> None:
    """A share outside 0 to 1, or a sum above 1, is refused with the reason."""
    with pytest.raises(ValueError, match=says):
        Shares(**shares)


@pytest.mark.parametrize(
    ("mix", "says"), [({"postcard": 1}, "'postcard'"), ({"payment": -1}, "payment = -1"), ({}, "empty")]
)
def test_an_impossible_mix_is_refused(mix: dict[str, float], says: str) -> None:
    """An unknown type, a negative weight or an empty mix is refused with the reason."""
    with pytest.raises(ValueError, match=says):
        Webio(1, mix)
