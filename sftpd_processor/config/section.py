"""A table of the configuration, and how its mistakes are gathered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

Contradiction: TypeAlias = tuple[tuple[str | int, ...], str]


class Section(BaseModel):
    """A table of the configuration: frozen, without unknown keys, reporting all its mistakes at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:  # noqa: ARG003
        """Where the keys as given do not fit together, and why; each value may be of any type."""
        return iter(())

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        # An "after" validator does not run when a single key is wrong: its mistakes would show only later.
        contradictions = cls.contradictions(given) if isinstance(given, Mapping) else ()
        found = [
            InitErrorDetails(type="value_error", loc=where, input=None, ctx={"error": why})
            for where, why in contradictions
        ]
        try:
            made = validate(given)
        except ValidationError as error:
            found = [*_details(error), *found]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True)
        return made


def _details(error: ValidationError) -> list[InitErrorDetails]:
    return [
        # As custom errors, because pydantic does not take back all of its own kinds.
        InitErrorDetails(
            type=PydanticCustomError(line["type"], line["msg"], line.get("ctx")), loc=line["loc"], input=None
        )
        for line in error.errors(include_url=False, include_input=False)
    ]
