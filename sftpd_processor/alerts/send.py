"""The process that sends: `python -m sftpd_processor.alerts.send`, for one message or some, and then it ends.

apprise is large, and whatever it talks to may hang. In a process of its own it costs the daemon neither memory nor
time, and can be killed. What is to be sent comes by standard input, since others can see arguments.

On standard input one JSON object: `{"seconds": …, "letters": [{"title", "body", "kind", "urls": […]}]}`. On standard
output one JSON line for each letter and address, as soon as that is known: `[letter, address, why]`; null: it arrived.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sftpd_processor.alerts.addresses import service

_MOST_AT_ONCE = 8
_STATUS = re.compile(r"\berror=(\d{3})\b")

Report = Callable[[int, int, str | None], None]
"""Called with the numbers of the letter and of its address, and why it did not arrive."""


def main() -> None:
    """Send what standard input says."""
    given = json.load(sys.stdin)

    def tell(letter: int, address: int, why: str | None) -> None:
        os.write(sys.stdout.fileno(), json.dumps([letter, address, why]).encode() + b"\n")  # at once, as a whole

    send(given["letters"], given["seconds"], tell)
    os._exit(0)  # not waiting for threads that hang


def send(letters: list[dict[str, Any]], seconds: float, tell: Report) -> None:
    """Send each letter to each of its addresses, those of one address one after another, in `seconds` at most."""
    lanes: dict[str, list[tuple[int, int]]] = {}
    for number, letter in enumerate(letters):
        for at, url in enumerate(letter["urls"]):
            lanes.setdefault(url, []).append((number, at))
    deadline = time.monotonic() + seconds
    pool = ThreadPoolExecutor(_MOST_AT_ONCE)
    for url, places in lanes.items():
        pool.submit(_lane, url, places, letters, deadline, tell)
    pool.shutdown()


def _lane(
    url: str, places: Iterable[tuple[int, int]], letters: list[dict[str, Any]], deadline: float, tell: Report
) -> None:
    for number, at in places:
        tell(number, at, _sent(url, letters[number], deadline - time.monotonic()))


def _sent(url: str, letter: dict[str, Any], seconds: float) -> str | None:
    """Why it did not arrive; None when it was taken."""
    if seconds <= 0:
        return "no answer in time"
    try:
        found = _notified(url, letter, seconds)
    except ValueError as error:
        return f"the address {error}"
    except Exception as error:  # noqa: BLE001 - of apprise, whose text may show the address
        return f"an error of apprise ({type(error).__name__})"
    return found


def _notified(url: str, letter: dict[str, Any], seconds: float) -> str | None:
    from apprise import Apprise, NotifyFormat, NotifyType

    sender = Apprise(service(url, seconds))
    result = sender.notify(
        title=letter["title"],
        body=letter["body"],
        notify_type=NotifyType(letter["kind"]),
        body_format=NotifyFormat.TEXT,
    )
    if result:
        return None
    said = [entry.message for one in result.results for attempt in one.attempts for entry in attempt.logs]
    return _why(result.status.name, " ".join(said))


def _why(status: str, said: str) -> str:
    """In our own words: apprise's may show the address."""
    if status == "TIMEOUT":
        return "no answer in time"
    if found := _STATUS.search(said):
        return f"it was refused with {found[1]}"
    if "onnection error" in said or "Socket" in said or "not reach" in said:
        return "it cannot be reached"
    return "it was not taken"


if __name__ == "__main__":
    main()
