"""A story as text: what `why` says to people, one idea a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sftpd_processor.cli.lines import more, page
from sftpd_processor.cli.story import GONE
from sftpd_processor.cli.words import counted

if TYPE_CHECKING:
    from sftpd_processor.cli.story import Story

_WIDTH = 23  # of a time


def text(data: dict[str, Any]) -> str:
    """The story of everything that was found, or where nothing was."""
    if not data["files"] and not data["events"]:
        return page(_nothing_lines(data))
    lines = ["All times are UTC."]
    for file in data["files"]:
        lines += _file_lines(file)
    for event in data["events"]:
        lines += _event_lines(event, alone=True)
    older = more(data["files_in_all"] - len(data["files"]), "older file of that name", "older files of that name")
    return page([*lines, *older, *more(data["events_in_all"] - len(data["events"]), "event")])


def _nothing_lines(data: dict[str, Any]) -> list[str]:
    lines = [f"{data['asked']}: no file of that name was ever listed, and no event is known by it"]
    for told in data["never_listed"]:
        lines.append(f"  source {told['source']}: {_looked(told)}")
        if told["such_a_file"]:
            lines.append(f"    such a file {told['such_a_file']}")
    return lines


def _looked(told: Story) -> str:
    if told["last_look"] is None:
        return "not looked at yet"
    when = f"{_seconds(told['last_look'])} UTC"
    if told["last_look_failed"]:
        failure = told["last_look_failed"].removeprefix(f"source {told['source']}: ")
        return f"the last look, at {when}, FAILED: {failure}"
    return f"not there at the last look, at {when}"


def _file_lines(file: Story) -> list[str]:
    size = counted(file["bytes"], "byte")
    lines = [f"{file['source']}/{file['name']}: {size}, modified {_seconds(file['modified'])}"]
    lines += [f"  {_time(step['at'])}  {step['what']}" for step in file["history"]]
    details = []
    for problem in file["problems"]:
        first = f" (the first one came in {problem['recorded_from']})" if "recorded_from" in problem else ""
        details.append(f"problem: {problem['where']}: {problem['why']}{first}")
    details += more(file["problems_in_all"] - len(file["problems"]), "problem")
    for again in file["repeats"]:
        came = f"came before {_how(again)}, in {again['first_in']}: event {again['event']}"
        details.append(f"item {again['position']}, {again['type']}: {came}")
    details += more(file["repeats_in_all"] - len(file["repeats"]), "item that came before", "items that came before")
    for event in file["events"]:
        details += _event_lines(event, alone=False)
    details += more(file["events_in_all"] - len(file["events"]), "event")
    return [*lines, *(f"  {line}" for line in details)]


def _event_lines(event: Story, *, alone: bool) -> list[str]:
    created = f", created {_seconds(event['created'])}" if event["created"] else ""
    whose = "" if event["organisation"] == "default" else f" in {event['organisation']}"
    lines = [f"event {event['event']}: {event['type']}{created}, known by {event['identity']}{whose}"]
    if alone:
        lines.append(f"  {_time(event['recorded'])}  recorded from {event['file']}, item {event['position']}")
    lines += [f"  {_time(again['at'])}  came again {_how(again)}, in {again['file']}" for again in event["came_again"]]
    lines += [f"  {line}" for line in more(event["came_again_in_all"] - len(event["came_again"]), "time", "times")]
    if event["gone"]:
        lines.append(f"  what was in it {GONE[event['gone']]}")
    if not event["deliveries"]:
        lines.append("  no handler wanted it" if not event["gone"] else "  no delivery is kept")
    for delivery in event["deliveries"]:
        lines += [f"  {line}" for line in _delivery_lines(delivery)]
    return lines


def _how(again: Story) -> str:
    return "with other content" if again["conflict"] else "unchanged"


def _delivery_lines(delivery: Story) -> list[str]:
    lines = [f"handler {delivery['handler']}: {_ending(delivery)}"]
    if delivery["behind_event"]:
        lines.append(f"  event {delivery['behind_event']} of its conversation comes first")
    if delivery["failing_since"]:
        since = _seconds(delivery["failing_since"])
        lines.append(f"  the handler has been failing since {since}: it is tried with one delivery at a time")
    lines += [
        f"  {line}"
        for line in more(
            delivery["history_in_all"] - len(delivery["history"]), "attempt before these", "attempts before these"
        )
    ]
    lines += [f"  {_time(one['ended_at'])}  {_attempt(one)}" for one in delivery["history"]]
    return lines + [f"  {_time(one['settled_at'])}  {_again(one)}" for one in delivery["again"]]


def _ending(delivery: Story) -> str:
    said = f": {delivery['said']}" if delivery["said"] else ""
    tries = counted(delivery["attempts"], "attempt")
    match delivery["state"]:
        case "done":
            return f"done at {_time(delivery['settled'])}, {tries}"
        case "skipped":
            return f"skipped at {_time(delivery['settled'])}{said}"
        case "dead":
            return f"DEAD LETTER since {_time(delivery['settled'])}, {tries}{said}"
        case "retrying":
            return f"to be tried again at {_time(delivery['due'])}, {tries} so far"
        case "running":
            return f"running now, attempt {delivery['attempts']}"
    return "to be tried again" if delivery["history"] else "not tried yet"


def _attempt(one: Story) -> str:
    if one["outcome"] == "put back":
        return f"put back by `retry` after {counted(one['attempt'], 'attempt')}"
    if one["outcome"] == "cut off":
        return f"attempt {one['attempt']} was cut off: the process ended"
    return f"attempt {one['attempt']} failed" + (f": {one['detail']}" if one["detail"] else "")


def _again(one: Story) -> str:
    said = f": {one['detail']}" if one["detail"] else ""
    return f"once more, by replay {one['replay']}: {one['state']}{said}"


def _time(moment: str | None) -> str:
    return moment[:_WIDTH].replace("T", " ") if moment else f"{'now':>{_WIDTH}}"


def _seconds(moment: str) -> str:
    return moment[:19].replace("T", " ")
