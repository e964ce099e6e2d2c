"""The settings of the archive: how long what is kept on this machine stays, and when that is seen to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from sftpd_processor.config.kinds import Whole
from sftpd_processor.config.section import Contradiction, Section

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _time_of_day(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError("must be a time of day such as 03:10, from 00:00 to 23:59")
    return text


Days = Annotated[Whole, Field(ge=0, le=36_500)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class ArchiveSettings(Section):
    """How long what is kept here stays. Days are UTC days, counted from when a file was recorded."""

    compact_after_days: Days = Field(
        7,
        description="Days older than this become one ZIP file per source and day. 0: never.",
        examples=[7],
    )
    keep_days: Days = Field(
        365,
        description="Days older than this are removed from the archive, and the contents of their events from the"
        " ledger; a day with open deliveries waits. 0: kept for ever.",
        examples=[365],
    )
    keep_quarantine_days: Days = Field(
        365,
        description="The same for the quarantine. 0: kept for ever.",
        examples=[90],
    )
    keep_dead_letters_days: Days = Field(
        365,
        description="For how long a delivery stays among the dead letters. 0: for ever.",
        examples=[90],
    )
    keep_identities_days: Days = Field(
        730,
        description="For how long a duplicate of an event can still arrive: until then the ledger knows the event"
        " though its contents are gone. Not less than `keep_days`. 0: for ever.",
        examples=[730],
    )
    upkeep_at: TimeOfDay = Field(
        "03:10",
        description="When `run` sees to all this each day, in the machine's local time; made up for at the start when"
        " it was not running then.",
        examples=["03:10"],
    )

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Identities that are forgotten while the archive still holds the events."""
        identities, kept = (
            given.get(key, cls.model_fields[key].default) for key in ("keep_identities_days", "keep_days")
        )
        if _counts(identities) and _counts(kept) and identities < kept:
            why = f"must not be less than keep_days ({kept}): what is still archived would be taken as new"
            yield ("keep_identities_days",), why


def _counts(days: object) -> bool:
    """Whether it is a number of days at all, and not 0."""
    return isinstance(days, int) and not isinstance(days, bool) and days > 0
