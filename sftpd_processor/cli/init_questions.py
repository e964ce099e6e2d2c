"""The questions of `init`: each is asked on a terminal only, and only when no flag answers it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from pydantic import SecretStr

from sftpd_processor.cli.lines import printable
from sftpd_processor.cli.words import counted
from sftpd_processor.config.secrets import LARGEST_SECRET
from sftpd_processor.errors import PermanentError, SourceRefused
from sftpd_processor.initial.answers import SOURCE, Answers, Place, checked
from sftpd_processor.initial.hostkeys import HostKey, shown_keys
from sftpd_processor.initial.visit import Seen, visit

_TRIES = 3
_HANDLERS = ("log", "jsonl")


@dataclass(frozen=True, slots=True)
class Given:
    """The flags."""

    host: str | None
    port: int | None
    username: str | None
    password_file: Path | None
    password_stdin: bool
    key_file: Path | None
    key_passphrase_file: Path | None
    accept_host_key: str | None
    folder: str | None
    handler: str | None
    yes: bool

    @property
    def logs_in(self) -> bool:
        """Whether they say how to log in."""
        return self.password_stdin or self.password_file is not None or self.key_file is not None


class Questions:
    """Asks them in order. Raises the errors of the server, PermanentError, and typer's own for wrong usage."""

    def __init__(self, given: Given, place: Place) -> None:
        self._given = given
        self._place = place
        self._terminal = sys.stdin.isatty() and not given.password_stdin

    def ask(self) -> tuple[Answers, Seen]:
        """All of them, with what was found on the server meanwhile."""
        given = self._given
        self._check_flags()
        if self._terminal:
            _say(f"This writes {self._place.config}. Ctrl-C ends it, and nothing is written.", "")
        host = self._text("host", given.host, "SFTP server")
        port = given.port or (22 if self._quick else typer.prompt("Port", "22", value_proc=_port, err=True))
        keys = shown_keys(SOURCE, host, port)
        answers = Answers(host, port, keys, self._confirmed(host, port, keys))
        self._log_in(answers)
        seen = self._look(answers)
        answers.handler = given.handler or self._handler()
        return answers, seen

    @property
    def _quick(self) -> bool:
        """Whether what has a default is not asked for."""
        return self._given.yes or not self._terminal

    def _check_flags(self) -> None:
        given = self._given
        if given.handler not in (None, *_HANDLERS):
            raise typer.BadParameter("must be log or jsonl; others are written by hand later", param_hint="--handler")
        if given.password_stdin and given.password_file:
            raise typer.BadParameter("give one of --password-file and --password-stdin")
        for name, text in (("host", given.host), ("username", given.username), ("folder", given.folder)):
            if text is not None:
                _fit(name, text, f"--{name}")
        if self._terminal:
            return
        wanted = {"--host": given.host, "--username": given.username}
        missing = [name for name, value in wanted.items() if value is None]
        if not given.logs_in:
            missing.append("--password-file, --password-stdin or --key-file")
        if given.accept_host_key is None and given.host is None:
            missing.append("--accept-host-key")
        if missing:
            raise typer.BadParameter(f"there is no terminal to ask on, so these are required: {'; '.join(missing)}")

    def _text(self, kind: str, given: str | None, question: str, default: str | None = None) -> str:
        if given is not None:
            return given
        if default is not None and self._quick:
            return default
        return str(typer.prompt(question, default, value_proc=lambda text: _answer(kind, text), err=True))

    def _confirmed(self, host: str, port: int, keys: Sequence[HostKey]) -> list[HostKey]:
        """The keys that are the server's, as somebody says who knows it."""
        shown = [f"  {key.kind:<20} {key.fingerprint}" for key in keys]
        told = self._given.accept_host_key
        if told is None and not self._terminal:
            raise typer.BadParameter(
                f"is required, since there is no terminal to ask on. {host}:{port} shows\n" + "\n".join(shown) + "\n"
                "Compare with what the server's owner told you, by another way than this connection",
                param_hint="--accept-host-key",
            )
        _say("", f"{host}:{port} shows these host keys:", *shown)
        if told is None:
            told = typer.prompt(
                'Compare them with what Webio told you, by another way than this connection. Type "yes" if they are\n'
                "equal, or paste the fingerprint that you were told",
                value_proc=lambda text: _yes_or_key(text, keys), err=True,
            )  # fmt: skip
        found = list(keys) if told == "yes" else [key for key in keys if key.fingerprint == told]
        if not found:
            raise SourceRefused(
                f"{host}:{port} does not show the host key {printable(told)}, but "
                f"{', '.join(key.fingerprint for key in keys)}. Somebody may be in between: ask the server's owner"
            )
        return found

    def _log_in(self, answers: Answers) -> None:
        """The account and its secrets."""
        given = self._given
        answers.username = self._text("username", given.username, "Account on it")
        if given.password_stdin:
            answers.password = _secret(sys.stdin.buffer.read(LARGEST_SECRET + 1), "standard input")
        elif given.password_file:
            answers.password = _read(given.password_file)
        if given.key_file:
            self._key(answers, given.key_file)
        if not given.logs_in:
            self._ask_how(answers)

    def _ask_how(self, answers: Answers) -> None:
        question = "Private key's file, if there is one in place of a password"
        path = "" if self._given.yes else typer.prompt(question, "", show_default=False, err=True).strip()
        answers.password = answers.key = answers.key_file = answers.passphrase = None
        if path:
            self._key(answers, Path(path).expanduser())
        else:
            answers.password = SecretStr(typer.prompt("Password (not shown)", hide_input=True, err=True))

    def _key(self, answers: Answers, path: Path) -> None:
        answers.key_file, answers.key = path.absolute(), _read(path)
        if "PRIVATE KEY-----" not in answers.key.get_secret_value():
            raise PermanentError(f"{path} is no private key, which begins with -----BEGIN")
        if self._given.key_passphrase_file:
            answers.passphrase = _read(self._given.key_passphrase_file)
        elif self._terminal and not self._given.yes:
            text = typer.prompt(
                "The key's passphrase, if it has one", "", hide_input=True, show_default=False, err=True
            )
            answers.passphrase = SecretStr(text) if text else None

    def _look(self, answers: Answers) -> Seen:
        """Log in and list the folder; on a terminal other answers may be given when that fails."""
        for left in range(_TRIES - 1, -1, -1):
            answers.folder = self._text("folder", self._given.folder, "Folder of the files", "/webhooks")
            try:
                seen = self._visited(answers)
            except SourceRefused as error:
                if not left or not self._terminal or self._given.logs_in:
                    raise
                _say(str(error), "")
                answers.username = self._text("username", self._given.username, "Account on it", answers.username)
                self._ask_how(answers)
                continue
            if not seen.refused:
                _say(f"Logged in. {_found(answers.folder, seen)}")
                return seen
            told = f"the folder {answers.folder} cannot be listed: {seen.refused}.{_suggestion(seen.folders)}"
            if not left or self._quick or self._given.folder is not None:
                raise SourceRefused(f"logged in as {answers.username!r}, but {told}")
            _say(told, "")
        raise AssertionError  # the last try returns or raises

    def _visited(self, answers: Answers) -> Seen:
        with answers.source() as settings:
            return visit(settings)

    def _handler(self) -> str:
        if self._quick:
            return "log"
        question = "With events, first of all: log them (types and ids), or write them to a file (jsonl)"
        return str(typer.prompt(question, "log", value_proc=_one_of(_HANDLERS), err=True))


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


def _found(folder: str, seen: Seen) -> str:
    more = "" if seen.complete else " or more"
    names = f" ({', '.join(seen.names)}{', …' if seen.to_take > len(seen.names) else ''})" if seen.names else ""
    fit = f"{counted(seen.to_take, 'file')} to take{names}"
    return f"{folder} holds {counted(seen.entries, 'entry', 'entries')}{more}; {fit}."


def _suggestion(folders: Sequence[str]) -> str:
    return f" The account sees these: {', '.join(folders)}" if folders else " The account sees no other folder"


def _fit(kind: str, text: str, hint: str) -> None:
    try:
        checked(kind, text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None


def _answer(kind: str, text: str) -> str:
    """A prompt's answer; what is wrong with it is told, and it is asked for again."""
    try:
        return checked(kind, text.strip())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _port(text: str) -> int:
    """A prompt's answer, likewise."""
    if text.strip().isdecimal() and 1 <= int(text) <= 65_535:
        return int(text)
    raise typer.BadParameter("type a number from 1 to 65535")


def _yes_or_key(text: str, keys: Sequence[HostKey]) -> str:
    text = text.strip()
    if text == "yes" or text in {key.fingerprint for key in keys}:
        return text
    if text.startswith("SHA256:"):
        raise typer.BadParameter("the server shows no such key. Somebody may be in between: ask the server's owner")
    raise typer.BadParameter('type "yes", or paste the fingerprint; Ctrl-C ends')


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text.strip() in words:
            return text.strip()
        raise typer.BadParameter(f"type {' or '.join(words)}")

    return chosen


def _read(path: Path) -> SecretStr:
    try:
        with path.expanduser().open("rb") as file:
            return _secret(file.read(LARGEST_SECRET + 1), str(path))
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error


def _secret(data: bytes, where: str) -> SecretStr:
    """The text, without the end of its line."""
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PermanentError(f"{where} is not UTF-8 text") from None
    if not text or len(data) > LARGEST_SECRET:
        raise PermanentError(f"{where} is {'too large for' if text else 'empty; it should hold'} the secret")
    return SecretStr(text)
