"""A shadowed handler beside the one that has handled the same events: what would have been the same, and what not."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from sftpd_processor.errors import ConfigurationError
from sftpd_processor.events.models import EVENT_TYPES
from sftpd_processor.handlers.api import Captured, Effect, Handler, Item, Shadowable
from sftpd_processor.handlers.shadow import Compared, shadowable

OTHER_TYPES = "other types"
"""Where events of types without a class are counted: their names come from outside, in any number."""

_OUTCOMES = {"pending": "retry", "running": "retry", "failed": "retry"}
_RESULTS = ("same", "different", "missing")

# What an effect says about the event. Not where it goes to (url, headers, table, path, argv): that is the same for
# every event, differs on purpose, and would hide what matters.
_COMPARED = {
    "http": "body",
    "sql": "row",
    "jsonl": "line",
    "command": "stdin",
    "log": "line",
    "function": "returned",
}


class Comparison:
    """Compares what one handler would do with what another has done.

    The other's outcome is the recorded one. Its effect is the one it would have today, if it is configured and can be
    shadowed: made for the very same delivery (key, handler's name, attempt), so that what must differ does not.
    """

    def __init__(self, name: str, old: Handler | None) -> None:
        """`name`: of the shadowed handler. `old`: the other; None, when only its recorded outcomes are there.

        `old` is neither opened nor closed here.
        """
        self._old = _shadowable(old) if old and old.name != name else None

    @property
    def knows_effects(self) -> bool:
        """Whether effects are compared, and not only outcomes."""
        return self._old is not None

    def of(self, item: Item, captured: Captured, old_state: str | None) -> Compared:
        """`old_state`: of the other's delivery as recorded; None when it has none. For several threads at once."""
        if old_state is None:
            return Compared("missing")
        outcome = _OUTCOMES.get(old_state, old_state)
        effect = self._old.capture(item).effect if self._old and outcome == "done" else None
        differs = ("outcome",) if outcome != captured.outcome.state else _differing(captured.effect, effect)
        return Compared("different", differs, {"outcome": outcome, "effect": effect}) if differs else Compared("same")


def _shadowable(handler: Handler) -> Shadowable | None:
    try:
        return shadowable(handler)
    except ConfigurationError:
        return None


def _differing(new: Effect | None, old: Effect | None) -> tuple[str, ...]:
    """The names of what differs; none when one of the two is not known."""
    if new is None or old is None:
        return ()
    if new["kind"] != old["kind"]:
        return ("kind",)
    name = _COMPARED[new["kind"]]
    one, other = new[name], old[name]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return tuple(f"{name}.{key}" for key in keys if key not in one or key not in other or one[key] != other[key])
    return (name,) if one != other else ()


class Tally:
    """Counts the details of a shadow's outcomes, by type."""

    def __init__(self) -> None:
        self._types: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)

    def add(self, event_type: str, detail: str, count: int = 1) -> None:
        """`count` events of a type whose shadowed delivery was settled with `detail`."""
        counter = self._types[event_type if event_type in EVENT_TYPES else OTHER_TYPES]
        outcome, _, compared = detail.partition("; ")
        result, _, names = compared.partition(": ")
        counter["outcome", outcome] += count
        if result:
            counter["result", result] += count
        for name in names.split(", ") if names else ():
            counter["differs", name] += count

    def as_data(self) -> dict[str, Any]:
        """As JSON can hold it: the numbers of all, and `by_type` those of each type."""
        whole = sum(self._types.values(), Counter[tuple[str, str]]())
        return {**_data(whole), "by_type": {name: _data(self._types[name]) for name in sorted(self._types)}}


def _data(counter: Counter[tuple[str, str]]) -> dict[str, Any]:
    def of(what: str) -> dict[str, int]:
        return {name: number for (kind, name), number in sorted(counter.items()) if kind == what}

    outcomes, results = of("outcome"), of("result")
    return {
        "events": sum(outcomes.values()),
        "outcomes": outcomes,
        **{name: results.get(name, 0) for name in _RESULTS},
        "differs": of("differs"),
    }
