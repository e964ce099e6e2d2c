"""The configuration as text: config.example.toml with its comments, in which the answers stand."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sftpd_processor.config.schema import toml
from sftpd_processor.errors import InternalError
from sftpd_processor.initial.answers import Answers, Place

_COMMENT_AT = 52  # the column in which the example's comments begin


class Document:
    """The lines of the example, to be changed key by key."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def begin(self, text: str) -> None:
        """Put `text` in place of the first paragraph."""
        self._lines[: self._lines.index("")] = text.splitlines()

    def set(self, head: str, key: str, value: Any) -> None:
        """Give a key of the first table under `head` a value, whether it was commented out or not."""
        at = self._find(head, key)
        found = re.search(r"\s+# (?!EDIT)(.*)$", self._lines[at].removeprefix("#"))
        line = f"{key} = {toml(value)}"
        self._lines[at] = f"{line:<{_COMMENT_AT - 1}} # {found[1]}" if found else line

    def drop(self, head: str, key: str) -> None:
        """Comment a key out."""
        at = self._find(head, key)
        self._lines[at] = "#" + self._lines[at].removeprefix("#")

    def __str__(self) -> str:
        return "\n".join([*self._lines, ""])

    def _find(self, head: str, key: str) -> int:
        start = self._lines.index(head) + 1
        for at, line in enumerate(self._lines[start:], start):
            if re.match(rf"#?{re.escape(key)} = ", line):
                return at
            if line.startswith("["):
                break
        raise InternalError(f"config.example.toml has no {key} under {head}")


def document(example: str, answers: Answers, place: Place) -> str:
    """The whole text of the configuration."""
    made = Document(example)
    today = datetime.now(UTC).date()
    made.begin(
        f"# The configuration of sftpd-processor, written by `sftpd-processor init` on {today}. Lines that begin with "
        '"#"\n# and a key show the default, or an example where there is none. Every key is explained in '
        "docs/settings.md.\n# After a change run `sftpd-processor check`."
    )
    made.set("[state]", "dir", place.state)
    source = {"host": answers.host, "username": answers.username, "folder": answers.folder}
    for key, value in (source | {"host_keys": [key.fingerprint for key in answers.trusted]}).items():
        made.set("[[sources]]", key, value)
    if answers.port != 22:
        made.set("[[sources]]", "port", answers.port)
    if answers.known_hosts:
        made.set("[[sources]]", "known_hosts", str((place.secrets / "known_hosts").relative_to(place.folder)))
    _set_secrets(made, answers, place)
    if answers.handler == "jsonl":
        name = f"{place.state}/events.jsonl" if place.service else "events.jsonl"
        made.set("[[handlers]]", "name", "journal")
        made.set("[[handlers]]", "use", "jsonl")
        made.set("[[handlers]]", "options", {"path": name})
    return str(made)


def _set_secrets(made: Document, answers: Answers, place: Place) -> None:
    keys = {"password": "sftp-password", "private_key": "sftp-key", "private_key_passphrase": "key-passphrase"}
    secrets = answers.secrets(place)
    references = {
        key: {"credential" if place.service else "file": name} for key, name in keys.items() if name in secrets
    }
    if answers.key_file is not None and not place.service:
        references["private_key"] = {"file": str(answers.key_file)}
    for key in keys:
        if key in references:
            made.set("[[sources]]", key, references[key])
        else:
            made.drop("[[sources]]", key)
