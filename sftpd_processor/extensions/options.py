"""The options of built-ins: how they are read, and how mistakes in them are told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from sftpd_processor.config.kinds import Place
from sftpd_processor.errors import ConfigurationError, Problem


class BuiltinOptions(BaseModel):
    """Options of one built-in: closed, frozen, and never quoted in an error (they may hold secrets)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


O = TypeVar("O", bound=BuiltinOptions)  # noqa: E741


def read_options(model: type[O], options: Mapping[str, Any], base_dir: Path, where: str) -> O:
    """Read the options at the path `where` (`handlers[1].options`); relative paths start at `base_dir`.

    Raises ConfigurationError with every mistake, each at its own path.
    """
    try:
        return model.model_validate(dict(options), context=Place(base_dir, os.environ))
    except ValidationError as error:
        raise ConfigurationError(_problems(error, model, where)) from None


def _problems(error: ValidationError, model: type[BuiltinOptions], where: str) -> Iterator[Problem]:
    for detail in error.errors(include_input=False, include_url=False):
        path = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
        yield Problem(path, _why(detail, model))


def _why(detail: ErrorDetails, model: type[BuiltinOptions]) -> str:
    if detail["type"] == "missing":
        return "is missing"
    if detail["type"] != "extra_forbidden":
        return detail["msg"].removeprefix("Value error, ")
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    near = get_close_matches(str(detail["loc"][-1]), known, n=1)
    if near:
        return f"there is no such option; did you mean `{near[0]}`?"
    return f"there is no such option; known are: {', '.join(known)}" if known else "it has no options"
