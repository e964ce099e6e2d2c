"""Puts the service into place, and takes it away again: the files, the links, the account, systemd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation import host
from sftpd_processor.installation.files import Tree, write
from sftpd_processor.installation.shipped import CONFIGURATION, UNITS, example, shipped
from sftpd_processor.installation.steps import Step
from sftpd_processor.installation.versions import Program

_CONFIG = CONFIGURATION / "config.toml"


class Service:
    """The service on this machine, or in the folder `root` that is to become one.

    Every verb does its steps while they are taken from it, and goes on where one before was cut off. Both raise
    `PermanentError`.
    """

    def __init__(self, root: Path, prefix: PurePosixPath) -> None:
        self._real = root == Path("/")
        self._tree = Tree(root, prefix)
        self._prefix = prefix
        self._program = Program(self._tree, prefix)
        self._changed = False

    def install(self, *, restart: bool = False, without: bool = False) -> Iterator[Step]:
        """Install, or upgrade; `restart` what runs, and go on `without` packages that were added to the one before."""
        if self._real:
            host.require_root()
        self._program.check()
        if not without:
            self._refuse_to_lose_packages()
        version = host.systemd_version()
        for file in shipped(self._prefix, version):
            yield self._noted(self._tree.put(file))
        yield self._configuration()
        yield from self._program.use()
        self._tree.save()
        if self._real:
            yield host.make_account()
            yield from host.share_configuration()
            yield from host.overrides()
            yield from self._systemd(restart=restart)

    def uninstall(self) -> Iterator[Step]:
        """Stop the services and remove what was installed, but no configuration, no secret and no state."""
        if self._real:
            host.require_root()
        if not self._tree.installed:  # rather than stop what another prefix's program runs, and remove nothing
            raise PermanentError(f"nothing is installed in {self._prefix}; name the folder where it is by --prefix")
        if self._real:
            yield from self._stop()
        yield from self._tree.remove_all()
        yield from self._program.leave()
        self._tree.forget()
        if self._real and host.systemd_runs():
            yield host.reload_systemd()
        yield from self._left()

    def _refuse_to_lose_packages(self) -> None:
        if missing := self._program.left_out():
            raise PermanentError(
                f"the version that is used now has packages that this one lacks: {', '.join(missing)}. Add them: "
                f"{self._program.bin}/pip install {' '.join(missing)}, and install again; or leave them out with "
                "--without-packages"
            )

    def _configuration(self) -> Step:
        path = self._tree.at(_CONFIG)
        if os.path.lexists(path):
            return Step("same", str(_CONFIG))
        write(path, example().encode(), 0o640)
        path.parent.chmod(0o750)
        return Step(
            "made", str(_CONFIG), "edit its lines marked EDIT, or run `sftpd-processor init`; then start the service"
        )

    def _noted(self, step: Step) -> Step:
        """Whether units have changed."""
        self._changed |= step.did != "same" and PurePosixPath(step.what).is_relative_to(UNITS)
        return step

    def _systemd(self, *, restart: bool) -> Iterator[Step]:
        if not host.systemd_runs():
            yield Step("note", "systemd does not run here; the service can be started when it does")
            return
        if (version := host.systemd_version() or 0) < host.OLDEST_SYSTEMD:
            yield Step("note", f"this is systemd {version}; the units need {host.OLDEST_SYSTEMD} or newer")
        step = host.reload_systemd()  # also of what a run that was cut off has changed
        yield step if self._changed else Step("same", step.what)
        running = host.running_units()
        late = running if self._changed else host.outdated(running, self._program.bin)
        if not late:
            return
        command = ("systemctl", "try-restart", *late)
        if restart:
            host.run(*command)
            yield Step("ran", " ".join(command))
        else:
            yield Step("note", f"still runs as it was started; when it suits you: {' '.join(command)}")

    def _stop(self) -> Iterator[Step]:
        units = sorted({*host.running_units(), *host.enabled_units()})
        if units and host.systemd_runs():
            host.run("systemctl", "disable", "--now", *units)
            yield Step("ran", f"systemctl disable --now {' '.join(units)}")

    def _left(self) -> Iterator[Step]:
        for what, path in (
            ("configuration and secrets", CONFIGURATION),
            ("ledger, archive and quarantine", host.STATE),
            ("changes by `systemctl edit`", PurePosixPath("/etc/systemd/system/sftpd-processor.service.d")),
            ("the program", self._prefix),
        ):
            if self._tree.at(path).exists():
                yield Step("kept", str(path), f"{what}; to remove: rm -r {path}")
        if self._real and host.account_exists():
            yield Step("kept", f"the account {host.ACCOUNT}", f"to remove: userdel {host.ACCOUNT}")
