"""One tree of errors. Each message says what is wrong, where, and what to do about it.

Three kinds are told apart, because three different people act on them:

- `TransientError`: time heals it (a network, a full disk); the daemon tries again by itself.
- `PermanentError`: a person must change something (a password, a host key, the configuration).
- `InternalError`: our mistake; please report it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class ProcessorError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class TransientError(ProcessorError):
    """May succeed when tried again, without anybody doing anything."""


class PermanentError(ProcessorError):
    """Will fail again until a person changes something."""


class InternalError(ProcessorError):
    """A state the program must never reach."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where it is, what is wrong, and what would be right."""

    where: str
    why: str
    example: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.why}"
        return f"{text} (for example: {self.example})" if self.example else text


class ConfigurationError(PermanentError):
    """The configuration cannot be used; `problems` lists every mistake found in it."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem], *, origin: str = "the configuration") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        count = len(self.problems)
        head = f"{origin}: {count} mistake{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


def all_of(*builds: Callable[[], Any]) -> list[Any]:
    """What each of `builds` returns; raises one ConfigurationError with the mistakes of all."""
    made: list[Any] = []
    problems: list[Problem] = []
    for build in builds:
        try:
            made.append(build())
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return made


class SourceUnavailable(TransientError):
    """The server did not answer, hung, or dropped the connection."""

    exit_code = 4


class SourceRefused(PermanentError):
    """The server answered, but not in a way that lets us work: login, host key, folder, rights."""

    exit_code = 4


class HostKeyRefused(SourceRefused):
    """The server shows a host key that is not the expected one: it was changed, or somebody is in between."""


class LedgerUnavailable(TransientError):
    """The ledger cannot be written now: locked by another process, disk full, database down."""


class LedgerUnusable(PermanentError):
    """The ledger cannot be used: written by a newer version, damaged, or not ours."""


class StateInUse(PermanentError):
    """Another process works on the same state folder."""
