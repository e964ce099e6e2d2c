"""Settings of the log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sftpd_processor.config.kinds import Flag
from sftpd_processor.config.section import Section


class LogSettings(Section):
    """What is written to the log, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The least that `run` and `serve` tell. Other verbs tell warnings and errors only.",
        examples=["warning"],
    )
    format: Literal["auto", "console", "json", "journald"] = Field(
        "auto",
        description="`console`: a line to read; `json`: an object in each line; `journald`: fields for systemd's"
        " journal; `auto`: `journald` where standard error leads into the journal, else `console`.",
        examples=["json"],
    )
    files: Flag = Field(
        default=False,
        description="Whether each file has a line of its own when it is recorded, disposed of or left alone.",
        examples=[True],
    )
