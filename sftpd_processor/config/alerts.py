"""The settings of alerts: who is told when something is wrong, and of what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PlainValidator, Strict

from sftpd_processor.config.kinds import Line, Name, Whole
from sftpd_processor.config.secrets import Secret
from sftpd_processor.config.section import Section

CauseKind = Literal[
    "source", "host_key", "quarantine", "dead_letters", "breaker", "silence", "disk", "expiry", "ledger"
]  # fmt: skip
CAUSES: tuple[CauseKind, ...] = get_args(CauseKind)
"""What can be wrong, in the order in which it is told."""

LEARN = 0.0
"""In place of a number of minutes: what is usual is learnt. Written as "learn"."""

_MOST_MINUTES = 525_600


def _missed_after(given: Any) -> float:
    if given == "learn":
        return LEARN
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _MOST_MINUTES:
        raise ValueError(f'must be a number of minutes, at most {_MOST_MINUTES}, or "learn"')
    return float(given)


Minutes = Annotated[float, Strict(), Field(gt=0, le=_MOST_MINUTES)]
MissedAfter = Annotated[float, PlainValidator(_missed_after)]


def _some_urls(urls: tuple[Secret, ...]) -> tuple[Secret, ...]:
    if not urls:
        raise ValueError("names no address at all; give one to which alerts are sent")
    return urls


def _some_causes(causes: tuple[CauseKind, ...]) -> tuple[CauseKind, ...]:
    if not causes:
        raise ValueError("names no cause at all; leave it out to be told of every one")
    return causes


class AlertSettings(Section):
    """Who is told when something is wrong, once for each cause, and again when it is over."""

    name: Name = Field(
        description="The alert's own name, as shown in logs. What was told already goes by this name.",
        examples=["operators"],
    )
    urls: Annotated[tuple[Secret, ...], AfterValidator(_some_urls)] = Field(
        description="Addresses as the library apprise writes them: mail, chat, pager, webhook. They hold passwords and"
        " tokens: give each as a secret.",
        examples=[[{"credential": "alert-url"}]],
    )
    on: Annotated[tuple[CauseKind, ...], AfterValidator(_some_causes)] = Field(
        CAUSES, description="The causes that are told; all of them when left out.", examples=[["source", "disk"]]
    )
    source_minutes: Minutes = Field(
        10, description="`source`: for how long a source must fail before that is told.", examples=[10]
    )
    grown_by: Whole = Field(
        1,
        ge=1,
        le=1_000_000,
        description="`quarantine` and `dead_letters`: by how many files or deliveries they must grow.",
        examples=[1],
    )
    calm_minutes: Minutes = Field(
        60, description="The same: after so long without another one, it is over.", examples=[60]
    )
    silence: dict[Line, MissedAfter] = Field(
        {},
        description="`silence`: types of event, each with the minutes after which it is missed, or with `learn`: then"
        " what is usual at this time of the week is learnt from the last two weeks.",
        examples=[{"inboundMessage": "learn", "payment": 1440}],
    )
    disk_percent: Annotated[float, Strict()] = Field(
        90,
        gt=0,
        le=99.99,
        description="`disk`: how full the file system of `state.dir` may become.",
        examples=[90],
    )
    expiry_days: Annotated[float, Strict()] = Field(
        14,
        gt=0,
        le=3650,
        description="`expiry`: how long before its end a certificate or a token of the public listener is told.",
        examples=[14],
    )
