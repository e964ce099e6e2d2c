"""The two listeners as they are configured now: the public one in a process of its own, and the operators' one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sftpd_processor.config.load import Configuration
from sftpd_processor.config.settings import HttpSettings
from sftpd_processor.daemon.ending import STOP_SECONDS

if TYPE_CHECKING:
    from sftpd_processor.http.admin import AdminListener
    from sftpd_processor.http.supervisor import Command, Supervisor


class Listening:
    """Both listeners between `start` and `stop`; a reload changes the public one."""

    def __init__(self, configuration: Configuration, config_folder: Path, serve: Command | None) -> None:
        """`serve` starts the process of the public listener; without it there is none.

        Raises `ConfigurationError` with every mistake in what that process is made of.
        """
        self._config_folder = config_folder
        self._serve = serve
        self.public: Supervisor | None = self._made(configuration)
        self.admin: AdminListener | None = None
        """Set before `start`, since it shows the parts of the daemon that are made later."""

    def start(self) -> None:
        """Bind both and begin. Raises `PermanentError` when an address cannot be had."""
        if self.public is not None:
            self.public.start()
        if self.admin is not None:
            self.admin.start()

    def begin_stop(self) -> None:
        """Take no new connection."""
        if self.public is not None:
            self.public.begin_stop()

    def stop(self) -> None:
        """End both."""
        if self.admin is not None:
            self.admin.stop()
        if self.public is not None:
            self.public.stop(STOP_SECONDS)

    def wrong(self) -> str | None:
        """What is wrong with the public listener, None when nothing is."""
        return None if self.public is None else self.public.wrong()

    def prepared(self, configuration: Configuration) -> Supervisor | None:
        """The public listener of `configuration`: the one of now where its address is the same, or another one, bound.

        Raises `ConfigurationError` with every mistake in it, and `PermanentError` when its address cannot be had.
        """
        made = self._made(configuration)
        if made is not None and self.public is not None and made.address == self.public.address:
            return self.public
        if made is not None:
            made.bind()
        return made

    def replace(self, public: Supervisor | None, configuration: Configuration) -> None:
        """Go over to `public`; one that stays goes over to `configuration`, and nobody is refused meanwhile.

        Raises `PermanentError` when it does not start with them; the one with the settings of before goes on then.
        """
        if public is self.public:
            if public is not None:
                public.configuration = configuration.text
                public.renew()
            return
        former, self.public = self.public, public
        if public is not None:
            public.start()
        if former is not None:
            former.stop(STOP_SECONDS)

    def _made(self, configuration: Configuration) -> Supervisor | None:
        settings = configuration.settings
        http: HttpSettings | None = settings.http
        if self._serve is None or http is None or not http.supervise:
            return None
        from sftpd_processor.http.parts import check_parts
        from sftpd_processor.http.supervisor import Supervisor

        check_parts(settings, http, self._config_folder)
        return Supervisor(http.listen, self._serve, configuration.text)
