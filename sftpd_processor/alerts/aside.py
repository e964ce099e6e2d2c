"""A short-lived process of ours: it keeps apprise, which is large, and what may hang, out of the daemon."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence


def spoken(command: Sequence[str], given: object, seconds: float) -> bytes:
    """What it wrote to standard output within so many seconds; then it is killed.

    It gets `given` as JSON by standard input: addresses never are arguments, nor in a file. Raises OSError when it
    cannot be started.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, input=json.dumps(given).encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=seconds, check=False, cwd="/", env=_environment(),
            start_new_session=True,  # Ctrl-C is for the daemon, which waits for it
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return late.stdout or b""
    return done.stdout


def _environment() -> dict[str, str]:
    """What it needs to find others: neither our settings, nor where credentials are."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    return {name: value for name, value in os.environ.items() if name in kept or name.lower() in proxies}
