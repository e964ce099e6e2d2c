"""The verb `demo`: the whole main job on a throw-away server, so that a newcomer sees what it does."""

from __future__ import annotations

import typer


def demo(ctx: typer.Context) -> None:
    """Show the main job on a throw-away SFTP server, with sample files."""
