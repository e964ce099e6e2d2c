"""Addresses to which alerts go, as the library apprise understands them; and those that are not taken.

As a process, `python -m sftpd_processor.alerts.addresses`: on standard input a JSON list of addresses, on standard
output one that says of each what is wrong with it; null: nothing.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from apprise import NotifyBase

_HERE = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""Services of apprise that end on this machine, where nobody sees them, or act upon its desktop."""
_FILES = frozenset({"attach", "keyfile", "pgpkey", "subfile", "template"})
"""Parameters by which apprise reads, writes or sends files of this machine, when they name a path."""
_SCHEME = re.compile(r"[a-z0-9]+")


def service(url: str, seconds: float) -> NotifyBase:
    """What sends to that address, with at most so many seconds for one message.

    Raises ValueError, which says what is wrong without any part of the address.
    """
    from apprise import Apprise, AppriseAsset
    from apprise.apprise import N_MGR

    _quiet()
    scheme, separator, _ = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme.lower()):
        raise ValueError("is no address: it begins with the name of a service, such as mailtos:// or slack://")
    if scheme.lower() in _HERE:
        raise ValueError(f"ends on this machine ({scheme.lower()}://), where nobody sees it; give another one")
    if wrong := _FILES & _paths(url):
        raise ValueError(f"has the parameter `{min(wrong)}`, which works on a file of this machine; leave it out")
    known: list[str] = N_MGR.schemas()  # type: ignore[no-untyped-call]
    if scheme.lower() not in {*known, "http", "https"}:
        raise ValueError("begins with the name of a service that apprise does not know, or cannot use here")
    asset = AppriseAsset(
        storage_mode="memory", service_timeout=seconds, http_redirects=False, pgp_autogen=False, pem_autogen=False
    )
    made = Apprise.instantiate(url, asset=asset)
    if made is None:
        raise ValueError("lacks something that its service needs; see docs/alerts.md for whole ones")
    # Four seconds, if apprise had its way: a service that took a message, and was slow to say so, would get it again.
    # One more than all of it may take, so that it is told as too slow, and not as away.
    made.socket_read_timeout = seconds + 1
    return made


def wrong(url: str) -> str | None:
    """What is wrong with that address, without any part of it; None when nothing is."""
    try:
        service(url, 1)
    except ValueError as error:
        return str(error)
    return None


def _quiet() -> None:
    """What apprise logs shows addresses; its results hold it, too, for those who read them with care."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _paths(url: str) -> set[str]:
    """The parameters that name a path, or another address."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return set()
    return {name.lower() for name, value in parse_qsl(query) if "/" in value}


if __name__ == "__main__":
    json.dump([wrong(url) for url in json.load(sys.stdin)], sys.stdout)
