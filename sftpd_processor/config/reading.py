"""The settings of what files and live posts mean: how their bytes become events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sftpd_processor.config.kinds import Name, TimeZone, Whole
from sftpd_processor.config.section import Section


class Reading(Section):
    """How the events in a file or a live post are read."""

    organisation: Name = Field(
        "default",
        description="Sources (and live posts) of one organisation share the identities of events; those of two do not.",
        examples=["acme"],
    )
    time_zone: TimeZone = Field(
        "UTC",
        description="The IANA time zone of `dateCreated` in the events, which carries no offset. It is"
        " assumed to be the organisation's local time: ask Webio which that is.",
        examples=["Europe/Dublin"],
    )
    unknown_events: Literal["accept", "quarantine"] = Field(
        "accept",
        description="What to do with an event of a type not known here: hand it on with all its fields, or"
        " put it into quarantine.",
        examples=["accept"],
    )
    partial: Literal["accept", "reject"] = Field(
        "accept",
        description="What to do with a file or a live post when only some of its events can be read: hand those on and"
        " put a copy of it into quarantine with what is wrong with the others, or take nothing of it.",
        examples=["accept"],
    )
    max_file_events: Whole = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="A file or a live post that holds more events is put into quarantine whole.",
        examples=[10_000],
    )
