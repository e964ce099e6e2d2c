"""The hostile files and what must become of each, as `expected.toml` says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_FOLDER = Path(__file__).parent
_STORED = _FOLDER / "files"


class HostileFile(BaseModel):
    """One file: its `data`, and what is expected of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    expected: Literal["accepted", "partial", "invalid", "too large"]
    events: int = 0
    where: str = ""
    why: str = ""
    content: tuple[tuple[str, Annotated[int, Field(ge=1)]], ...] = ()
    name: str = ""

    @property
    def data(self) -> bytes:
        """The bytes: stored, or made of texts that are repeated."""
        if not self.content:
            return (_STORED / self.name).read_bytes()
        return "".join(_repeated(text, times) for text, times in self.content).encode()

    def begins_at(self, place: str) -> bool:
        """Whether `place` is where the first fault is expected."""
        return place.startswith(self.where) if self.where.endswith(" ") else place == self.where


def _repeated(text: str, times: int) -> str:
    return "".join(text.replace("{n}", str(n)) for n in range(times)) if "{n}" in text else text * times


def corpus() -> dict[str, HostileFile]:
    """Every file by name."""
    told = TypeAdapter(dict[str, HostileFile]).validate_python(tomllib.loads((_FOLDER / "expected.toml").read_text()))
    return {name: file.model_copy(update={"name": name}) for name, file in told.items()}


def stored() -> set[str]:
    """The names of the files that are kept as such."""
    return {path.name for path in _STORED.iterdir() if path.name != ".gitattributes"}
