"""Secrets: written in the configuration as text, or as a reference to where they are kept.

The forms are `"text"`, `{ env = "NAME" }`, `{ file = "/path" }` and `{ credential = "name" }` (a file in
$CREDENTIALS_DIRECTORY, as systemd sets it; for a command by hand the one that systemd would read, beside the
configuration). All are resolved when the settings are loaded, and live on as `SecretStr`, which shows itself only as
asterisks. No error text holds a secret's value.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr, ValidationInfo

from sftpd_processor.config.kinds import Options, Place, check_database

LARGEST_SECRET = 64 * 1024
"""Bytes; a file larger than this is surely not a secret, but a mistake."""

_FORMS = ("env", "file", "credential")
_OPEN_TO_OTHERS = 0o077


def resolve(value: object, place: Place, *, private: bool = False) -> SecretStr:
    """The secret that `value` holds or refers to; with `private`, a file open to others is refused.

    Raises ValueError, saying what to do and naming the variable or the file, never the secret.
    """
    if isinstance(value, SecretStr):
        return value
    text = value if isinstance(value, str) else _look_up(value, place, private=private)
    if not text:
        raise ValueError("is empty; give the secret, or a reference to it")
    if not _is_text(text):
        raise ValueError("is not UTF-8 text")
    return SecretStr(text)


def resolve_options(options: Options, place: Place) -> Options:
    """Handler options in which each reference to a secret, at any depth, has become a `SecretStr`."""
    return {key: _resolve_within(value, place, key) for key, value in options.items()}


def resolved_options(options: Options, info: ValidationInfo) -> Options:
    """The same, for a field of settings."""
    return resolve_options(options, Place.of(info))


def _resolve_within(value: Any, place: Place, where: str) -> Any:
    if _is_reference(value):
        try:
            return resolve(value, place)
        except ValueError as error:
            raise ValueError(f"in `{where}`: {error}") from None
    if isinstance(value, dict):
        return {key: _resolve_within(item, place, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve_within(item, place, where) for item in value]
    return value


def _is_reference(value: object) -> bool:
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    ((form, name),) = value.items()
    return form in _FORMS and isinstance(name, str)


def _look_up(value: object, place: Place, *, private: bool) -> str:
    if not isinstance(value, Mapping) or not _is_reference(value):
        raise ValueError('must be text, { env = "NAME" }, { file = "/path" } or { credential = "name" }')
    ((form, name),) = value.items()
    if form == "env":
        return _from_environment(name, place)
    if form == "credential":
        return _from_credential(name, place)
    return _from_file(place.folder / name, private=private)


def _from_environment(name: str, place: Place) -> str:
    text = place.environment.get(name)
    if text is None:
        raise ValueError(f"the environment variable {name!r} is not set; set it before the start")
    if not text:
        raise ValueError(f"the environment variable {name!r} is empty; put the secret into it")
    return text


def _from_credential(name: str, place: Place) -> str:
    path = _credential(name, place)
    with suppress(OSError):
        if path.read_bytes() == b"\n":  # what our units hand over where there is no such file
            raise ValueError(
                f"the credential {name!r} is empty; put it into the file that LoadCredential= of the unit names, and"
                " restart"
            )
    return _from_file(path)


def _credential(name: str, place: Place) -> Path:
    if "/" in name or name in {"", ".", ".."}:
        raise ValueError(f"the credential {name!r} must be a plain name, without a folder")
    if handed := place.environment.get("CREDENTIALS_DIRECTORY"):
        return Path(handed) / name
    folder = place.folder if place.name in ("", "config") else place.folder / place.name  # as the units have it
    path = folder / name
    if not path.exists():
        raise ValueError(
            f"the credential {name!r} is handed over by systemd (LoadCredential=); by hand it is looked for in"
            f" {str(folder)!r}, and is not there"
        )
    return path


def _from_file(path: Path, *, private: bool = False) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        raise ValueError(f"cannot read the secret's file {str(path)!r}: {reason}") from None
    if private and mode & _OPEN_TO_OTHERS:
        raise ValueError(f"the key's file is open to others; run: chmod 600 {shlex.quote(str(path))}")
    return _decode(content, path)


def _decode(content: bytes, path: Path) -> str:
    if len(content) > LARGEST_SECRET:
        raise ValueError(f"the file {str(path)!r} is too large for a secret")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the file {str(path)!r} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"the file {str(path)!r} is empty; put the secret into it")
    return text


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _secret(value: object, info: ValidationInfo) -> SecretStr:
    return resolve(value, Place.of(info))


def _private_key(value: object, info: ValidationInfo) -> SecretStr:
    key = resolve(value, Place.of(info), private=True)
    if not key.get_secret_value().lstrip().startswith("-----BEGIN "):
        raise ValueError('is not a private key, which begins with -----BEGIN; name its file by { file = "/path" }')
    return key


def _database(value: object, info: ValidationInfo) -> SecretStr:
    url = resolve(value, Place.of(info))
    check_database(url.get_secret_value())
    return url


Secret = Annotated[SecretStr, BeforeValidator(_secret)]
PrivateKey = Annotated[SecretStr, BeforeValidator(_private_key)]
DatabaseUrl = Annotated[SecretStr, BeforeValidator(_database)]
