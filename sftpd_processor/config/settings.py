"""The settings: one frozen tree. Each description is the text of the reference (docs/settings.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.config.archive import ArchiveSettings
from sftpd_processor.config.http import AdminSettings, HttpSettings
from sftpd_processor.config.kinds import Callable, Line, LocalPath, Name, Options, Seconds, Whole
from sftpd_processor.config.log import LogSettings
from sftpd_processor.config.secrets import DatabaseUrl, resolved_options
from sftpd_processor.config.section import Contradiction, Section
from sftpd_processor.config.sources import (
    AnySource,
    DirectorySourceSettings,
    SftpSourceSettings,
    SourceBase,
    SourceSettings,
)
from sftpd_processor.config.values import ValuesSettings

__all__ = [
    "AdminSettings",
    "AlertSettings",
    "ArchiveSettings",
    "DeliverySettings",
    "DirectorySourceSettings",
    "HandlerSettings",
    "HttpSettings",
    "LogSettings",
    "Settings",
    "SftpSourceSettings",
    "SourceBase",
    "SourceSettings",
    "StateSettings",
    "ValuesSettings",
]


def _some_sources(sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
    if not sources:
        raise ValueError("at least one [[sources]] table is required: it says where files come from")
    return sources


def _some_events(events: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if events == ():
        raise ValueError("names no event at all; leave it out to get every event")
    return events


class StateSettings(Section):
    """What is kept on this machine: the ledger, the archive and the quarantine."""

    dir: LocalPath = Field(
        Path("/var/lib/sftpd-processor"),
        description="The folder of ledger.db, archive/ and quarantine/. Relative to the configuration's folder.",
        examples=["/var/lib/sftpd-processor"],
    )
    database: DatabaseUrl | None = Field(
        None,
        description="A SQLAlchemy URL (sqlite or postgresql+psycopg) in place of ledger.db in `dir`, so"
        " that several machines can share the work. It may hold a password, so it can be given"
        " as secrets are.",
        examples=[{"credential": "database-url"}],
    )

    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the ledger, with its password if it has one: never log it."""
        if self.database is not None:
            return self.database.get_secret_value()
        from sqlalchemy import URL  # it alone knows how to write a path into its URLs

        file = str(self.dir / "ledger.db")
        return URL.create("sqlite", database=file).render_as_string(hide_password=False)


class HandlerSettings(Section):
    """What is done with events: a built-in, or your own code."""

    name: Name = Field(
        description="The handler's own name, as shown in the ledger and the logs. Never change it later:"
        " what is done already goes by this name.",
        examples=["crm"],
    )
    use: Callable = Field(
        description="A built-in (`log`, `jsonl`, `command`, `http`, `sql`), the name of an installed"
        ' handler, or your own code as "package.module:function".',
        examples=["http"],
    )
    events: Annotated[tuple[Line, ...] | None, AfterValidator(_some_events)] = Field(
        None,
        description="The types of event it gets; all of them when left out.",
        examples=[["inboundMessage", "payment"]],
    )
    options: Annotated[Options, AfterValidator(resolved_options)] = Field(
        {},
        repr=False,  # may hold tokens and passwords in clear
        description="The handler's own settings. Where a value is secret, give a reference to it: { env ="
        ' "NAME" }, { file = "/path" } or { credential = "name" }.',
        examples=[{"url": "https://crm.example.com/webio"}],
    )


class DeliverySettings(Section):
    """How events are handed to the handlers, and what happens when one fails."""

    workers: Whole = Field(
        8, ge=1, le=256, description="How many events each handler works on at once (threads).", examples=[8]
    )
    order: Literal["conversation", "none"] = Field(
        "conversation",
        description="`conversation`: the events of one conversation one after another, in the order"
        " recorded; `none`: in any order.",
        examples=["conversation"],
    )
    timeout_seconds: Seconds = Field(30, description="How long one attempt may take.", examples=[30])
    max_attempts: Whole = Field(
        8, ge=1, le=1000, description="After this many attempts a delivery is a dead letter.", examples=[8]
    )
    backoff_seconds: Seconds = Field(
        2, description="The pause before the second attempt; it doubles each time, with jitter.", examples=[2]
    )
    backoff_max_seconds: Seconds = Field(3600, description="The longest pause between two attempts.", examples=[3600])
    breaker_failures: Whole = Field(
        10,
        ge=0,
        le=100_000,
        description="When so many different deliveries to a handler fail in a row, its breaker opens: it gets one"
        " delivery at a time, after a pause that doubles, until one succeeds. 0: never.",
        examples=[10],
    )
    breaker_max_seconds: Seconds = Field(
        60, description="The longest pause between two deliveries while a breaker is open.", examples=[60]
    )


class Settings(Section):
    """The whole configuration."""

    state: StateSettings = Field(
        default_factory=StateSettings, description="What is kept on this machine.", examples=[]
    )
    sources: Annotated[tuple[AnySource, ...], AfterValidator(_some_sources)] = Field(
        (),
        validate_default=True,
        description="Where files come from, a [[sources]] table each; at least one is required.",
        examples=[],
    )
    handlers: tuple[HandlerSettings, ...] = Field(
        (),
        description="What is done with events, a [[handlers]] table each; without any they are only kept.",
        examples=[],
    )
    delivery: DeliverySettings = Field(
        default_factory=DeliverySettings, description="How events are handed to the handlers.", examples=[]
    )
    http: HttpSettings | None = Field(
        None, description="The public listener, which Webio calls; without it there is none.", examples=[]
    )
    values: tuple[ValuesSettings, ...] = Field(
        (), description="What answers custom-value names, a [[values]] table each.", examples=[]
    )
    admin: AdminSettings | None = Field(
        None, description="The operators' listener; without it there is none.", examples=[]
    )
    archive: ArchiveSettings = Field(
        default_factory=ArchiveSettings, description="How long what is kept on this machine stays.", examples=[]
    )
    log: LogSettings = Field(
        default_factory=LogSettings, description="What is written to the log, and how.", examples=[]
    )
    alerts: tuple[AlertSettings, ...] = Field(
        (), description="Who is told when something is wrong, an [[alerts]] table each.", examples=[]
    )

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Names that are used twice."""
        for section in ("sources", "handlers", "values", "alerts"):
            seen: set[str] = set()
            for index, name in _names(given.get(section)):
                if name in seen:
                    yield (section, index, "name"), "is the name of another one already; names must differ"
                seen.add(name)


def _names(tables: Any) -> Iterator[tuple[int, str]]:
    for index, table in enumerate(tables if isinstance(tables, list | tuple) else ()):
        name = table.get("name") if isinstance(table, Mapping) else getattr(table, "name", None)
        if isinstance(name, str):
            yield index, name
