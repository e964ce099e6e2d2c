"""A first visit to a server: may the account in, and what is in the folder?"""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from itertools import islice

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.doctor.place import Refused
from sftpd_processor.doctor.server import ServerPlace
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.pipeline.admission import admission, shown

_BATCHES = 20  # of a thousand names: enough for a first impression
_NAMED = 2
_MOST_FOLDERS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in the folder; or, when it cannot be listed, why, and which folders there are."""

    entries: int = 0
    complete: bool = True
    """False when there is more than was looked at."""
    to_take: int = 0
    """How many entries the settings would take."""
    names: tuple[str, ...] = ()
    """The first of them."""
    refused: str = ""
    folders: tuple[str, ...] = ()


def visit(settings: SftpSourceSettings) -> Seen:
    """Log in and look at the folder. Nothing is changed.

    Raises `SourceUnavailable` and `SourceRefused` when the account is not let in.
    """
    place = ServerPlace(settings)
    place.open()
    try:
        batches = list(islice(place.entries(), _BATCHES + 1))
    except Refused as refusal:
        return Seen(refused=str(refusal), folders=_folders(settings))
    finally:
        place.close()
    refuse = admission(settings)
    entries = [entry for batch in batches[:_BATCHES] for entry in batch]
    names = [entry.name for entry in entries if refuse(entry) is None]
    return Seen(len(entries), len(batches) <= _BATCHES, len(names), tuple(sorted(names)[:_NAMED]))


def _folders(settings: SftpSourceSettings) -> tuple[str, ...]:
    """The folders beside the one that is named, and those where the login begins."""
    found: list[str] = []
    for parent in dict.fromkeys((posixpath.dirname(settings.folder) or ".", ".")):
        try:
            found += _within(settings.model_copy(update={"folder": parent}))
        except (Refused, SourceRefused, SourceUnavailable):
            continue  # suggestions only
    return tuple(dict.fromkeys(found))[:_MOST_FOLDERS]


def _within(settings: SftpSourceSettings) -> list[str]:
    place = ServerPlace(settings)
    place.open()
    try:
        names = sorted(entry.name for batch in islice(place.entries(), 1) for entry in batch if not entry.regular)
        paths = [posixpath.join(settings.folder, name).removeprefix("./") for name in names[:_MOST_FOLDERS]]
        return [shown(path) for path in paths if stat.S_ISDIR(place.mode(path) or 0)]
    finally:
        place.close()
