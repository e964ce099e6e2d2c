"""asyncssh's SFTP server as a throw-away server: inside this process, so that a test can look into it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.testing.servers import START_SECONDS, BaseServer, PortTakenError

if TYPE_CHECKING:
    import asyncssh

_CHANGES = (
    "write",
    "rename",
    "posix_rename",
    "remove",
    "mkdir",
    "rmdir",
    "setstat",
    "fsetstat",
    "symlink",
    "link",
)


class AsyncsshServer(BaseServer):
    """asyncssh's SFTP server in a thread of this process: login by password or key, for one account.

    `read_only` is an account that may read but not write, rename or remove; `options` go to `asyncssh.listen`, such
    as `encryption_algs`. Raises SourceUnavailable when asyncssh is not installed.
    """

    def __init__(
        self,
        root: Path,
        *,
        password: str = "a pretend password",  # fixed, since the server lives on loopback only
        read_only: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(root, read_only=read_only)
        self.password = password
        self._options = dict(options or {})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: asyncssh.SSHAcceptor | None = None
        self.connections: set[asyncssh.SSHServerConnection] = set()

    @property
    def running(self) -> bool:
        return self._loop is not None

    def _start(self) -> None:
        try:
            import asyncssh
        except ModuleNotFoundError:
            raise SourceUnavailable("asyncssh is not installed: pip install 'sftpd-processor[demo]'") from None
        logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asyncssh-server", daemon=True)
        self._thread.start()
        try:
            self._listener = self._await(self._listen(asyncssh))
        except OSError as error:
            self.stop()
            raise PortTakenError from error

    async def _listen(self, asyncssh: Any) -> Any:
        keys = {
            "server_host_keys": [str(self.home / "host_key")],
            "authorized_client_keys": str(self.home / "authorized_keys"),
        }
        return await asyncssh.listen(
            self.host,
            self.port,
            server_factory=_account_class(self),
            sftp_factory=_sftp_class(self.root, read_only=self.read_only),
            reuse_address=True,
            **(keys | self._options),
        )

    def stop(self) -> None:
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), loop).result(START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
            self._listener = None
        await self._abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def drop_connections(self) -> None:
        """Cut every client off; the server goes on listening."""
        self._await(self._abort())

    async def _abort(self) -> None:
        cut = list(self.connections)
        for connection in cut:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in cut), return_exceptions=True)

    def _await(self, coroutine: Any) -> Any:
        if self._loop is None:
            raise RuntimeError("AsyncsshServer is stopped")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_SECONDS)


def _account_class(server: AsyncsshServer) -> type[Any]:
    import asyncssh

    class Account(asyncssh.SSHServer):
        """Knows one user and one password; keys are checked by asyncssh against authorized_keys."""

        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._connection = conn
            server.connections.add(conn)

        def connection_lost(self, exc: Exception | None) -> None:
            del exc
            server.connections.discard(self._connection)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (server.username, server.password)

    return Account


def _sftp_class(root: Path, *, read_only: bool) -> type[Any]:
    import asyncssh

    class Files(asyncssh.SFTPServer):
        """The local files; relative paths start at the root."""

        def map_path(self, path: bytes) -> bytes:
            return os.fsencode(root / os.fsdecode(path))

        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            if read_only and pflags & ~asyncssh.FXF_READ:
                refuse()
            return super().open(path, pflags, attrs)

    def refuse(*_: object) -> None:
        raise asyncssh.SFTPPermissionDenied("this account may only read")

    return type("ReadOnlyFiles", (Files,), dict.fromkeys(_CHANGES, refuse)) if read_only else Files
