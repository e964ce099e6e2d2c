"""`init` on a terminal: a person at a pty answers its questions."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.support import COMMAND, Desk
from tests.acceptance.test_readme import blocks
from tests.support import ServedFolder

_PATIENCE = 60.0  # seconds for each question


class Person:
    """Types answers when they are asked for. `screen` is all that was shown."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SFTPD_PROCESSOR")}
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, "init", *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env=kept | {"HOME": str(folder), "COLUMNS": "200", "TERM": "dumb"},
        )  # fmt: skip
        os.close(theirs)
        self.screen = ""
        self._answered = 0

    def answer(self, question: str, text: str) -> None:
        """Wait for the question, and type; Enter is added."""
        self.see(question)
        os.write(self._terminal, f"{text}\n".encode())

    def see(self, text: str) -> None:
        """Wait until it is shown, after what was seen before."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.screen[self._answered :]:
            if not self._read(deadline):
                pytest.fail(f"{text!r} did not come after: {self.screen[self._answered :]}")
        self._answered = self.screen.index(text, self._answered) + len(text)

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def ended(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(_PATIENCE)

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._terminal)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._terminal, 65_536) if ready else b""
        except OSError:  # the other side is closed
            return False
        self.screen += data.decode().replace("\r\n", "\n")
        return bool(data)


def shown_on_the_page(screen: str) -> None:
    """What docs/install.md shows is a part of this, in that order, but for names, addresses and places."""

    def plain(text: str) -> list[str]:
        text = re.sub(r"(?<=these: ).*|(?<=holds ).*| +# .*", "*", text)
        text = re.sub(r"SHA256:\S+|/[\w./-]+|[\w.]+:\d+", "*", text)
        text = re.sub(r"(?:(?<=server: )|(?<=on it: )|(?<=22\]: ))\S+$", "*", text, flags=re.MULTILINE)
        return [line.rstrip(" *") for line in text.splitlines() if line.strip()]

    (shown,) = blocks("text init", (Path(__file__).parents[2] / "docs" / "install.md").read_text())
    printed = iter(plain(screen))
    missing = [line for line in plain(shown) if line.strip() != "…" and line not in printed]
    assert missing == []


Sit = Callable[..., Person]


@pytest.fixture
def sit(desk: Desk) -> Iterator[Sit]:
    """Sits down at a terminal in the desk's folder, and calls `init`."""
    people: list[Person] = []

    def seated(*arguments: str) -> Person:
        people.append(Person(desk.folder, *arguments))
        return people[-1]

    yield seated
    for person in people:
        person.close()


def server_questions(person: Person, served: ServedFolder) -> None:
    """Answer those about the server, with its fingerprint as it was told."""
    person.answer("SFTP server: ", served.server.host)
    person.answer("Port [22]: ", str(served.server.port))
    person.see(f"{served.server.host}:{served.server.port} shows these host keys:")
    person.see(served.server.host_key_fingerprint)
    person.answer("the fingerprint that you were told: ", "yes")


def test_a_person_answers(desk: Desk, asyncssh_server: ServedFolder, sit: Sit) -> None:
    """The questions lead to a configuration that works; a wrong password and a missing folder are told and asked for
    again, and no password is ever shown."""
    password = str(asyncssh_server.server.password)
    (asyncssh_server.folder / "hooks").mkdir()
    person = sit("--output", "config.toml", "--service")
    person.see(f"This writes {desk.config}.")
    server_questions(person, asyncssh_server)
    person.answer("Account on it: ", asyncssh_server.server.username)
    person.answer("Private key's file, if there is one in place of a password: ", "")
    person.answer("Password (not shown): ", "Wr0ng-and-secret")
    person.answer("Folder of the files [/webhooks]: ", f"{asyncssh_server.folder}/hook")
    person.see("the server refused the login")
    person.answer(f"Account on it [{asyncssh_server.server.username}]: ", "")
    person.answer("in place of a password: ", "")
    person.answer("Password (not shown): ", password)
    person.answer("Folder of the files [/webhooks]: ", f"{asyncssh_server.folder}/hook")
    person.see("cannot be listed")
    person.see(f"{asyncssh_server.folder}/hooks")
    person.answer("Folder of the files [/webhooks]: ", f"{asyncssh_server.folder}/hooks")
    person.see("Logged in.")
    person.answer("(jsonl) [log]: ", "log")
    assert person.ended() == 0, person.screen
    shown_on_the_page(person.screen)
    assert "Next:" in person.screen
    for secret in (password, "Wr0ng-and-secret"):
        assert secret not in person.screen
    assert desk.run("check", "--live").code == 0


def test_a_person_with_a_key(desk: Desk, openssh: ServedFolder, sit: Sit) -> None:
    """A key in place of the password, and the fingerprint pasted in place of "yes"; what is not fit is asked again."""
    server = openssh.server
    person = sit("--output", "config.toml", "--folder", str(openssh.folder), "--handler", "log")
    person.answer("SFTP server: ", "sftp://127.0.0.1/")
    person.see("without sftp://")
    person.answer("SFTP server: ", server.host)
    person.answer("Port [22]: ", "99999")
    person.see("type a number from 1 to 65535")
    person.answer("Port [22]: ", str(server.port))
    person.answer('Type "yes"', "no")
    person.answer('type "yes", or paste the fingerprint', f"SHA256:{'B' * 43}")
    person.see("the server shows no such key")
    person.answer('Type "yes"', server.host_key_fingerprint)
    person.answer("Account on it: ", server.username)
    person.answer("in place of a password: ", str(server.client_key_path))
    person.answer("The key's passphrase, if it has one: ", "")
    assert person.ended() == 0, person.screen
    assert f'private_key = {{ file = "{server.client_key_path}" }}' in desk.config.read_text()
    assert desk.run("check", "--live").code == 0


def test_ctrl_c_writes_nothing(desk: Desk, openssh: ServedFolder, sit: Sit) -> None:
    """Interrupted at the host key, it ends with 130 and leaves nothing behind."""
    person = sit("--output", "config.toml", "--host", openssh.server.host, "--port", str(openssh.server.port))
    person.see('Type "yes"')
    person.interrupt()
    assert person.ended() == 130
    assert "nothing was written" in person.screen
    assert sorted(path.name for path in desk.folder.iterdir()) == ["home", "tmp", "work"]


def test_a_person_hears_of_an_existing_file_first(desk: Desk, sit: Sit) -> None:
    """A configuration that is in the way is told before any question."""
    desk.config.write_text("# mine\n")
    person = sit("--output", "config.toml")
    assert person.ended() == 1
    assert f"{desk.config}: there already" in person.screen
    assert "SFTP server" not in person.screen
