"""Throw-away SFTP servers on the loopback address, for tests, demos and benchmarks.

`OpenSshServer` runs the machine's own sshd; `AsyncsshServer`, in a module of its own, is a second, different
implementation inside this process (it needs the `demo` extra). Both keep the interface `ThrowAwayServer`; neither
shuts the client up in a folder, so an absolute remote path is the local one, and a relative path starts at `root`.

    with OpenSshServer(folder) as server:
        connect(server.host, server.port, server.username, server.client_key_path)

They are made for a machine you trust: whoever can read the client key can read and write as you.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sftpd_processor.errors import SourceUnavailable

START_SECONDS = 20.0
_HOST = "127.0.0.1"
_PORT_TRIES = 5
_SSHD_PLACES = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/opt/homebrew/sbin/sshd", "/usr/bin/sshd")


class ThrowAwayServer(Protocol):
    """What tests, demos and benchmarks may use of a server; entering starts it, leaving stops and removes it.

    `stop` and `start` again keep the port, the keys and the files; `drop_connections` cuts every client off
    while the server goes on listening. `password` is None where only the key can log in.
    """

    @property
    def root(self) -> Path: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str | None: ...
    @property
    def client_key_path(self) -> Path: ...
    @property
    def host_key_fingerprint(self) -> str: ...
    @property
    def known_hosts_path(self) -> Path: ...
    @property
    def running(self) -> bool: ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def drop_connections(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PortTakenError(Exception):
    """Somebody else took the port between finding and using it."""


class BaseServer(ABC):
    """The common part: keys in a private folder, a port, a start that returns when clients can connect."""

    username = "webio"
    password: str | None = None

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root.resolve()
        self.host = _HOST
        self.port = 0
        self.read_only = read_only
        self._home: Path | None = None
        self.host_key_fingerprint = ""

    @property
    def home(self) -> Path:
        """The private folder with the keys; it exists while the server is entered."""
        if self._home is None:
            raise RuntimeError(f"{type(self).__name__} is not entered: use it in a with statement")
        return self._home

    @property
    def client_key_path(self) -> Path:
        return self.home / "client_key"

    @property
    def known_hosts_path(self) -> Path:
        return self.home / "known_hosts"

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="sftpd-processor-server-"))
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_keys()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        self._home = None

    def start(self) -> None:
        """Start at the port of before, or at the first start at a free one. Raises SourceUnavailable."""
        known = bool(self.port)
        for _ in range(1 if known else _PORT_TRIES):
            self.port = self.port if known else free_port()
            try:
                self._start()
            except PortTakenError:
                continue
            name = f"[{self.host}]:{self.port}"
            self.known_hosts_path.write_text(f"{name} {(self.home / 'host_key.pub').read_text()}")
            return
        raise SourceUnavailable(f"no SFTP server could be started at {self.host}:{self.port}: the port is taken")

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it was started and not stopped since."""

    @abstractmethod
    def _start(self) -> None:
        """Start at `self.port` and return when it answers; PortTakenError when it is in use."""

    @abstractmethod
    def stop(self) -> None:
        """Stop listening and cut every client off; harmless when stopped."""

    def _make_keys(self) -> None:
        self.host_key_fingerprint = _make_key(self.home / "host_key")
        _make_key(self.home / "client_key")
        shutil.copy(self.home / "client_key.pub", self.home / "authorized_keys")


class OpenSshServer(BaseServer):
    """The machine's sshd with a configuration of its own: key login only, as the user who runs this.

    `sftp_server` is the path of an external sftp-server to run in place of sshd's built-in one; `read_only`
    refuses every change; `options` are lines of sshd_config that stand before all others, so that they win.
    Raises SourceUnavailable when there is no sshd, or when it does not start.
    """

    def __init__(
        self, root: Path, *, sftp_server: Path | None = None, read_only: bool = False, options: Sequence[str] = ()
    ) -> None:
        super().__init__(root, read_only=read_only)
        self._options = tuple(options)
        self.username = pwd.getpwuid(os.geteuid()).pw_name
        self._sftp_server = sftp_server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def _start(self) -> None:
        sshd = find_sshd()
        if sshd is None:
            raise SourceUnavailable("there is no sshd on this machine: install it (apt-get install openssh-server)")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation wants it
        config, log = self.home / "sshd_config", self.home / "sshd.log"
        log.write_bytes(b"")
        config.write_text(self._config())
        if b"PerSourcePenalties" in _run_quietly(sshd, "-t", "-f", config):  # before OpenSSH 9.8
            config.write_text(self._config().replace("PerSourcePenalties no\n", ""))
        self._process = subprocess.Popen(
            [sshd, "-D", "-f", config, "-E", log], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._wait(self._process, log)

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        def answers() -> bool:
            if process.poll() is None:
                return _greets(self.host, self.port)
            said = log.read_text(errors="replace").strip()
            if "Address already in use" in said:
                raise PortTakenError
            raise SourceUnavailable(f"sshd stopped at once (exit {process.returncode}): {said or 'it said nothing'}")

        try:
            _wait_for(answers, "sshd")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        sessions = _descendants(process.pid)
        process.kill()
        process.wait()
        _kill(sessions)

    def drop_connections(self) -> None:
        """Cut every client off by ending sshd's session processes (found through /proc, so on Linux only)."""
        if self._process is not None:
            _kill(_descendants(self._process.pid))

    def _config(self) -> str:
        command = str(self._sftp_server) if self._sftp_server else "internal-sftp"
        flags = " -R" if self.read_only else ""
        return "\n".join(
            [
                *self._options,
                f"ListenAddress {self.host}:{self.port}",
                f"HostKey {self.home}/host_key",
                f"AuthorizedKeysFile {self.home}/authorized_keys",
                "PidFile none",
                "AuthenticationMethods publickey",
                "PermitRootLogin yes",
                "StrictModes no",
                "UsePAM no",
                "UseDNS no",
                "LogLevel ERROR",
                "MaxStartups 200",
                "PerSourcePenalties no",
                f'Subsystem sftp {command} -d "{self.root}"{flags}',
                "",
            ]
        )


def find_sshd() -> Path | None:
    """OpenSSH's sshd, which is often where an ordinary user's PATH does not look; None when absent."""
    found = shutil.which("sshd")
    places = [Path(place) for place in ((found,) if found else ()) + _SSHD_PLACES]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _make_key(path: Path) -> str:
    """Write `path` and `path.pub`; returns the fingerprint, `SHA256:…`."""
    import paramiko

    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(path))
    path.with_suffix(".pub").write_text(f"{key.get_name()} {key.get_base64()}\n")
    return str(key.fingerprint)


def _greets(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SourceUnavailable(f"{what} did not answer within {START_SECONDS:.0f} s")
        time.sleep(0.01)


def _run_quietly(*command: str | Path) -> bytes:
    return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).stderr


def _descendants(pid: int) -> list[int]:
    """The processes below this one, from /proc (Linux only): sshd's sessions leave its process group."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended while we looked
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found[1:]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
