"""The kinds of value a setting can have, each with its own check and its own words for what is wrong."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict, ValidationInfo

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253})")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_URL_PATH = re.compile(r"/[A-Za-z0-9._~/-]{1,200}")
_CALLABLE = re.compile(r"[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?")
_DATABASE = re.compile(r"(?P<scheme>[\w+]+)://(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration was read: relative paths and references to secrets are resolved against it."""

    folder: Path
    environment: Mapping[str, str]
    name: str = ""
    """Of the configuration's file, without its ending; the folder of this name may hold its secrets."""

    @classmethod
    def of(cls, info: ValidationInfo) -> Place:
        """The place given as the context of a validation; else this process, relative paths left alone."""
        return info.context if isinstance(info.context, cls) else cls(Path(), os.environ)


def _line(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be one line of visible text, and not empty")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or a digit")
    return text


def _callable(text: str) -> str:
    if not _CALLABLE.fullmatch(text):
        raise ValueError('must be a name, or "package.module:function"')
    return text


def _host(text: str) -> str:
    if _HOST.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    raise ValueError("must be a host name or an IP address alone, without sftp://, user, port or folder")


def split_address(text: str) -> tuple[str, int]:
    """Host and port of a listener's address, which was checked before."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(text: str) -> bool:
    """Whether only this machine reaches that address; a name other than localhost is no such promise."""
    host = text.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536) or (":" in bare) != host.startswith("["):
        raise ValueError("must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080")
    _host(bare)
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IP address, or a network such as 10.0.0.0/8") from None


def _url_path(text: str) -> str:
    if not _URL_PATH.fullmatch(text):
        raise ValueError("must be a path such as /webhooks: a / and letters, digits, and . _ - ~ /")
    return text


def _fingerprint(text: str) -> str:
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(
            'must be "SHA256:" and 43 characters, as shown by: ssh-keyscan -p PORT HOST | ssh-keygen -lf -'
        )
    return text


def _pattern(text: str) -> str:
    if "/" in text:
        raise ValueError("must match the file's name alone, so it cannot contain a /")
    return text


def _inside(text: str) -> str:
    if ".." in text.split("/"):
        raise ValueError("must not contain a .. segment")
    return text


def _aside(text: str) -> str:
    if not text.replace("/", "").replace(".", ""):
        raise ValueError("must name a folder other than the source's own")
    return text


def _cron(text: str) -> str:
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(text, timezone="UTC")
    except (ValueError, OverflowError):
        raise ValueError(
            "must be five crontab fields: minute, hour, day of month, month, day of week (by name)"
        ) from None
    return text


def _time_zone(text: str) -> str:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones, such as "Europe"
        raise ValueError(f"is not an IANA time zone{_nearest_zone(text)}") from None
    return text


def _nearest_zone(text: str) -> str:
    import zoneinfo

    zones = {zone.lower(): zone for zone in sorted(zoneinfo.available_timezones())}
    cities = {zone.rpartition("/")[2]: full for zone, full in zones.items() if "/" in zone}
    names = cities | zones
    wanted = text.lower().replace(" ", "_")
    near = [wanted] if wanted in names else difflib.get_close_matches(wanted, names, n=1)
    return f"; did you mean `{names[near[0]]}`?" if near else ""


def _local(path: Path, info: ValidationInfo) -> Path:
    if not str(path).isprintable():
        raise ValueError("must be a path of visible characters")
    return Place.of(info).folder / path


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or not str(path).isprintable():
        raise ValueError("must be an absolute path on this machine")
    if ".." in path.parts:
        raise ValueError("must not contain a .. segment")
    return path


def _existing(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Place) and not os.path.isfile(path):  # noqa: PTH113 (never raises)
        raise ValueError(f"there is no file {path}; make it with: ssh-keyscan -p PORT HOST, and compare the keys")
    return path


def has_password(url: str) -> bool:
    """Whether a database URL carries a password itself, read as SQLAlchemy reads it."""
    return bool(re.match(r"[\w+]+://[^:/]*:[^@]+@", url) or re.search(r"[?&](ssl)?password=", url))


def check_database(url: str) -> str:
    """Refuse a database the ledger cannot live in.

    Raises ValueError, whose text never holds any part of the URL (it may contain a password).
    """
    found = _DATABASE.fullmatch(url)
    if not found or found["scheme"] not in {"sqlite", "postgresql+psycopg"}:
        raise ValueError("must be a URL that begins with sqlite:/// or postgresql+psycopg://")
    if found["scheme"] == "sqlite" and not re.match(r"/[^?]", found["rest"]):
        raise ValueError("must name a file: sqlite:// and one more / and the path")
    if ":memory:" in url or "mode=memory" in url:
        raise ValueError("must be a file: what is only in memory would be lost at the next start")
    return url


Line = Annotated[str, AfterValidator(_line)]
Name = Annotated[str, AfterValidator(_name)]
Callable = Annotated[str, AfterValidator(_callable)]
Host = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
Pattern = Annotated[Line, AfterValidator(_pattern)]
RemoteFolder = Annotated[Line, AfterValidator(_inside)]
OtherFolder = Annotated[RemoteFolder, AfterValidator(_aside)]
Cron = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
LocalPath = Annotated[Path, AfterValidator(_local)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
KnownHosts = Annotated[LocalPath, AfterValidator(_existing)]
# Strict: in Python `true` is also 1, and a number in quotes is most likely a slip.
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Seconds = Annotated[float, Strict(), Field(gt=0, le=31_536_000)]
MaybeNoSeconds = Annotated[float, Strict(), Field(ge=0, le=31_536_000)]
Options = dict[str, Any]
