"""Asking the providers: each name goes to the first that can answer it, and on to the next, until the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sftpd_processor.measures import Measures
from sftpd_processor.values.api import Query
from sftpd_processor.values.line import Line, Reply
from sftpd_processor.values.registry import Providers

_MOST_PLANS = 1_000


@dataclass(slots=True)
class Answer:
    """What a bot gets: `values` by the names as asked for and in that order, None where there is none.

    `found` counts those that are there; `failed` and `late` say whether a provider failed, or took too long.
    """

    values: dict[str, str | None]
    found: int = 0
    failed: bool = False
    late: bool = False


class Call(NamedTuple):
    """One provider asked for some names at once, in its own words; `pairs` are (name, word)."""

    line: Line
    words: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


class Plan:
    """Who is asked for a list of names: found once, since bots ask for the same names again and again."""

    def __init__(self, names: Sequence[str], lines: Sequence[Line]) -> None:
        self.empty: dict[str, str | None] = dict.fromkeys(names)
        self._lines = lines
        self.first = self._calls(names, 0)

    def after(self, line: Line, names: Sequence[str]) -> Sequence[Call]:
        """The next calls for names that `line` has no value for."""
        return self._calls(names, self._lines.index(line) + 1)

    def _calls(self, names: Sequence[str], start: int) -> Sequence[Call]:
        pairs: dict[Line, list[tuple[str, str]]] = {}
        for name in dict.fromkeys(names):
            for line in self._lines[start:]:
                if (word := line.word_for(name)) is not None:
                    pairs.setdefault(line, []).append((name, word))
                    break
        return [Call(line, tuple(dict.fromkeys(word for _, word in its)), tuple(its)) for line, its in pairs.items()]


class Asker:
    """Asks all providers for what bots want to know; used within one event loop."""

    def __init__(self, providers: Providers, deadline_seconds: float, measures: Measures) -> None:
        self._lines = [Line(entry, measures) for entry in providers]
        self._deadline = deadline_seconds
        self._measures = measures
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._leaving: set[asyncio.Task[Reply]] = set()  # the loop itself does not keep tasks alive

    async def ask(self, query: Query, names: Sequence[str]) -> Answer:
        """Within the deadline, whatever providers do; raises nothing of theirs."""
        asked = tuple(names)
        plan = self._plans.get(asked) or self._planned(asked)
        asking = Asking(query, plan)
        asking.start(plan.first)
        if asking.waiting:
            await self._wait(asking)
        self._count(asking)
        return asking.answer

    def _planned(self, names: tuple[str, ...]) -> Plan:
        if len(self._plans) >= _MOST_PLANS:  # names come from outside, so the memory of them is bounded
            self._plans.clear()
        plan = self._plans[names] = Plan(names, self._lines)
        return plan

    async def _wait(self, asking: Asking) -> None:
        """Until nobody is left to ask, or the time is up; what came until then is used."""
        now = asyncio.get_running_loop().time
        end = now() + self._deadline
        tasks: dict[asyncio.Task[Reply], Call] = {}
        try:
            while asking.waiting or tasks:
                tasks.update((asyncio.ensure_future(it), call) for call, it in asking.taken_over())
                timeout = max(0.0, end - now())
                done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    asking.give_up(tasks.values())
                    return
                for task in done:
                    asking.take(tasks.pop(task), task.result())
        finally:
            self._leave(tasks)

    def _leave(self, tasks: Iterable[asyncio.Task[Reply]]) -> None:
        for task in tasks:
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            task.cancel()

    def _count(self, asking: Asking) -> None:
        found, troubles = asking.answer.found, asking.troubles
        missing = len(asking.answer.values) - found
        if found:
            self._measures.count("values_answers", "found", by=found)
        for name, trouble in troubles.items():
            if asking.answer.values[name] is None:
                missing -= 1
                self._measures.count("values_answers", trouble)
        if missing:
            self._measures.count("values_answers", "missing", by=missing)


class Asking:
    """One question while it is being answered."""

    __slots__ = ("_plan", "_query", "answer", "troubles", "waiting")

    def __init__(self, query: Query, plan: Plan) -> None:
        self._query = query
        self._plan = plan
        self.answer = Answer(plan.empty.copy())
        self.troubles: dict[str, Literal["failed", "late"]] = {}
        self.waiting: list[tuple[Call, Awaitable[Reply]]] = []

    def start(self, calls: Iterable[Call]) -> None:
        """Ask; what is answered at once is taken at once, for the rest there is something to await."""
        for call in calls:
            reply = call.line.ask(self._query, call.words)
            if isinstance(reply, Reply):
                self.take(call, reply)
            else:
                self.waiting.append((call, reply))

    def taken_over(self) -> list[tuple[Call, Awaitable[Reply]]]:
        """What is to be awaited and not yet is."""
        waiting, self.waiting = self.waiting, []
        return waiting

    def take(self, call: Call, reply: Reply) -> None:
        """Use what there is, and ask the next providers for the rest."""
        answer, left = self.answer, []
        for name, word in call.pairs:
            text = reply.texts.get(word)
            if text is None:
                left.append(name)
            else:
                answer.values[name] = text
                answer.found += 1
        if left:
            self._note(call, reply)
            self.start(self._plan.after(call.line, left))

    def give_up(self, calls: Iterable[Call]) -> None:
        """The time is up, and these have not answered."""
        for call in calls:
            self._note(call, Reply({}, call.words, late=True))

    def _note(self, call: Call, reply: Reply) -> None:
        if not reply.lost:
            return
        self.answer.late = self.answer.late or reply.late
        self.answer.failed = self.answer.failed or not reply.late
        for name, word in call.pairs:
            if word in reply.lost:
                # That it came too late is what the operator can change: so it outweighs a failure.
                self.troubles[name] = "late" if reply.late else self.troubles.get(name, "failed")
