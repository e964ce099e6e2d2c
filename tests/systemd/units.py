"""The shipped units, and in what the template differs from the service."""

from __future__ import annotations

from pathlib import Path

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "sftpd-processor.service"
TEMPLATE = UNITS / "sftpd-processor@.service"

_HEAD = """\
# The service: one configuration, /etc/sftpd-processor/config.toml. For several organisations on one machine there is
# sftpd-processor@.service, which differs from this one in its paths only. docs/service.md explains both. A change of
# your own belongs into a drop-in (systemctl edit sftpd-processor), which outlives upgrades.
"""
_TEMPLATE_HEAD = """\
# The service, once for each organisation: the instance "acme" (systemctl enable --now sftpd-processor@acme) has the
# configuration /etc/sftpd-processor/acme.toml, the secrets in /etc/sftpd-processor/acme/, and the state folder
# /var/lib/sftpd-processor/acme. But for such paths this is sftpd-processor.service. docs/service.md explains both. A
# change of your own belongs into a drop-in (systemctl edit sftpd-processor@acme), which outlives upgrades.
"""
_STATE = """\
# /var/lib/sftpd-processor, as `dir` of [state] has it: the ledger, the archive and the quarantine.
StateDirectory=sftpd-processor
StateDirectoryMode=0750
"""
_TEMPLATE_STATE = """\
# /var/lib/sftpd-processor/acme: the ledger, the archive and the quarantine. The variable sets `dir` of [state], so that
# no two instances share one, whatever their files say. Those of the others cannot be seen.
StateDirectory=sftpd-processor/%i
StateDirectoryMode=0750
Environment=SFTPD_PROCESSOR__STATE__DIR=%S/sftpd-processor/%i
TemporaryFileSystem=%S/sftpd-processor:ro
"""
_RUNTIME = """\
# /run/sftpd-processor: for sockets and the like of your handlers. That of an instance of the template lies in it, so it
# stays when this service stops.
RuntimeDirectory=sftpd-processor
"""
_TEMPLATE_RUNTIME = """\
# /run/sftpd-processor/acme: for sockets and the like of your handlers. It stays when the instance stops, as that of the
# service does.
RuntimeDirectory=sftpd-processor/%i
"""

DIFFERENCES = (
    (_HEAD, _TEMPLATE_HEAD),
    ("Description=Inbox for Webio's SFTP hooks\n", "Description=Inbox for Webio's SFTP hooks: %i\n"),
    ("/etc/sftpd-processor/config.toml", "/etc/sftpd-processor/%i.toml"),
    (_STATE, _TEMPLATE_STATE),
    (_RUNTIME, _TEMPLATE_RUNTIME),
    (
        "NoExecPaths=/var/lib/sftpd-processor /run/sftpd-processor /tmp",
        "NoExecPaths=/var/lib/sftpd-processor/%i /run/sftpd-processor/%i /tmp",
    ),
    ("# Files in /etc/sftpd-processor that are", "# Files in /etc/sftpd-processor/acme that are"),
    (":/etc/sftpd-processor/", ":/etc/sftpd-processor/%i/"),
)
"""Text of the service → text of the template; everything else is the same in both."""


def as_template(service: str) -> str:
    """The template that belongs to this text of the service."""
    for old, new in DIFFERENCES:
        assert old in service, f"no longer in {SERVICE.name}: {old}"
        service = service.replace(old, new)
    return service


if __name__ == "__main__":  # python -m tests.systemd.units writes the template anew
    TEMPLATE.write_text(as_template(SERVICE.read_text()))
