"""The exit codes of every verb, by name."""

from __future__ import annotations

DONE = 0
FAILED = 1
"""Something failed; the message is on standard error."""
MISUSED = 2
"""Wrong usage or configuration."""
DONE_WITH_LOSSES = 3
"""Done, but some files were quarantined or deliveries died."""
UNREACHABLE = 4
"""A server could not be reached, or refused us."""
INTERRUPTED = 130
"""By Ctrl-C or SIGTERM, before everything was done."""
