"""The settings of providers: what answers the custom-value names that bots ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from sftpd_processor.config.kinds import Callable, Line, MaybeNoSeconds, Name, Options, Seconds
from sftpd_processor.config.secrets import resolved_options
from sftpd_processor.config.section import Section


def _some_names(names: dict[str, str] | None) -> dict[str, str] | None:
    if names == {}:
        raise ValueError("names no value at all; leave it out to let the provider answer all that it has")
    return names


class ValuesSettings(Section):
    """What answers the custom-value names that bots ask for: each name is asked of the first that can answer it."""

    name: Name = Field(description="The provider's own name, as shown in logs and metrics.", examples=["accounts"])
    use: Callable = Field(
        description="A built-in (`static`, `sql`, `http`), the name of an installed provider, or your own code as"
        ' "package.module" or "package.module:function".',
        examples=["sql"],
    )
    names: Annotated[dict[Line, Line] | None, AfterValidator(_some_names)] = Field(
        None,
        description="The names it answers, each with the provider's own word for it: a column, a field, a key. Left"
        " out, it answers what it has, by its own words.",
        examples=[{"balance": "balance", "dueDate": "due_date"}],
    )
    cache_seconds: MaybeNoSeconds = Field(
        0, description="For how long an answer for one customer is used again.", examples=[5]
    )
    timeout_seconds: Seconds | None = Field(
        None,
        description="How long it may take; left out, as long as the bot's deadline allows.",
        examples=[1],
    )
    options: Annotated[Options, AfterValidator(resolved_options)] = Field(
        {},
        repr=False,  # may hold passwords in clear
        description="The provider's own settings; secrets as references, as in a handler's options.",
        examples=[
            {
                "url": {"credential": "accounts-database"},
                "query": "SELECT balance FROM accounts WHERE uid = :customerUID",
            }
        ],
    )
