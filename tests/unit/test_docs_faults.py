"""docs/faults.md says what the program says, and names the bounds that the program keeps."""

from __future__ import annotations

import re
from pathlib import Path

from sftpd_processor.sources import sftp, sftp_jobs, sftp_memory
from sftpd_processor.sources.base import BATCH

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()


def test_the_messages_are_the_programs() -> None:
    """Every message and every reason on the page is in the program, word for word."""
    source = "".join(path.read_text() for path in sorted((ROOT / "sftpd_processor").rglob("*.py")))
    source = re.sub(r"""["']\s*\n\s*(?:\+ )?f?["']""", "", source).replace("%d", "").replace("%s", "")
    tables = PAGE.partition("## The server cannot be used")[2]
    messages = [text for text in re.findall(r"`([^`]+)`", tables) if " " in text and not text.startswith("source NAME")]
    assert len(messages) > 30
    elsewhere = ("Connection refused", "after = ")
    for message in messages:
        for part in re.split("…", message):
            assert part in source or message.startswith(elsewhere), message


def test_the_bounds_are_the_programs() -> None:
    """The numbers on the page are those of the program."""
    assert f"a look {sftp.MOST_ENTRIES:,} names" in PAGE
    assert f"A batch is {BATCH:,} files" in PAGE
    assert f"for {sftp_memory.LEFT_ALONE / 60:g} minutes" in PAGE
    assert sftp_memory.TIMES_BACK == 4
    assert "after the fourth time" in PAGE
    assert f"pieces of less than {sftp_jobs.SMALLEST_PIECE} bytes" in PAGE
    assert f"may take {sftp_jobs.FREE_PIECES} answers and one more for each {sftp_jobs.SMALLEST_PIECE} bytes" in PAGE
