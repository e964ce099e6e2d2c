"""The settings of a source: what both kinds have, and what is of one kind alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from posixpath import join, normpath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag

from sftpd_processor.config.kinds import (
    AbsolutePath,
    Cron,
    Fingerprint,
    Host,
    KnownHosts,
    Line,
    MaybeNoSeconds,
    Name,
    OtherFolder,
    Pattern,
    RemoteFolder,
    Seconds,
    Whole,
)
from sftpd_processor.config.reading import Reading
from sftpd_processor.config.secrets import PrivateKey, Secret
from sftpd_processor.config.section import Contradiction


def _source_name(name: str) -> str:
    if name == "live":
        raise ValueError('"live" is reserved: it is the archive\'s name for live posts')
    return name


def _some_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError('takes no file at all; give at least one pattern, such as "*"')
    return patterns


class SourceBase(Reading):
    """What both kinds of source have."""

    name: Annotated[Name, AfterValidator(_source_name)] = Field(
        description="The source's own name, as shown in the ledger, the archive and the logs. Never change"
        " it later: what is known of its files goes by this name.",
        examples=["webio"],
    )
    include: Annotated[tuple[Pattern, ...], AfterValidator(_some_patterns)] = Field(
        ("*.json",),
        description="Patterns of the file names to take. The default is assumed: Webio does not publish its names.",
        examples=[["*.json", "*.jsonl"]],
    )
    exclude: tuple[Pattern, ...] = Field(
        (".*", "*.tmp", "*.part", "*.filepart"),
        description="Patterns of file names never to take, also when `include` matches.",
        examples=[[".*", "*.tmp"]],
    )
    settle_seconds: MaybeNoSeconds = Field(
        10,
        description="How long the size and time of a file must stand still before it is taken, when its"
        " content alone does not show that it is complete.",
        examples=[10],
    )
    max_file_bytes: Whole = Field(
        1_048_576,
        ge=1,
        le=64 * 1_048_576,
        description="Larger files are left alone and shown as ignored.",
        examples=[1_048_576],
    )
    after: Literal["move", "delete", "keep"] = Field(
        "move",
        description="What is done at the source with a file that is safely recorded.",
        examples=["move"],
    )
    move_to: OtherFolder = Field(
        "processed",
        description="Where `after` = `move` puts files: relative to `folder`, or absolute. Made when absent.",
        examples=["processed"],
    )
    poll_seconds: Seconds = Field(30, description="How often to look for files.", examples=[30])
    cron: Cron | None = Field(
        None,
        description="When to look for files, in place of `poll_seconds`: five crontab fields. Name the"
        " days of the week (mon-fri), since their numbers mean different days to different"
        " programs.",
        examples=["*/5 8-18 * * mon-fri"],
    )

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Two ways of saying when to poll, or files moved to where they are."""
        if given.get("cron") is not None and given.get("poll_seconds") is not None:
            yield ("cron",), "cannot be given together with `poll_seconds`; keep one of the two"
        folder, target = given.get("folder"), given.get("move_to")
        texts = [part for part in (folder, target) if isinstance(part, str | Path)]
        if len(texts) == 2 and normpath(join(*map(str, texts))) == normpath(str(folder)):
            yield ("move_to",), "is the source's own folder; name another one"


class SftpSourceSettings(SourceBase):
    """A folder on an SFTP server."""

    type: Literal["sftp"] = Field("sftp", description="The kind of source.", examples=["sftp"])
    host: Host = Field(description="The server's name or address.", examples=["sftp.example.com"])
    port: Whole = Field(22, ge=1, le=65_535, description="The server's port.", examples=[22])
    username: Line = Field(description="The account on the server.", examples=["acme"])
    password: Secret | None = Field(
        None,
        description="The account's password. This or `private_key` is required.",
        examples=[{"credential": "sftp-password"}],
    )
    private_key: PrivateKey | None = Field(
        None,
        description="The account's private key in PEM or OpenSSH form, usually named by its file, which"
        " must not be open to others.",
        examples=[{"file": "/etc/sftpd-processor/id_ed25519"}],
    )
    private_key_passphrase: Secret | None = Field(
        None,
        description="The passphrase of `private_key`, if it has one.",
        examples=[{"credential": "key-passphrase"}],
    )
    known_hosts: KnownHosts | None = Field(
        None,
        description="A file of the server's public keys, as OpenSSH keeps them. Relative to the"
        " configuration's folder. This or `host_keys` is required; no other server is ever"
        " trusted.",
        examples=["/etc/sftpd-processor/known_hosts"],
    )
    host_keys: tuple[Fingerprint, ...] = Field(
        (),
        description="Fingerprints of the server's public keys, as shown by `ssh-keyscan -p PORT HOST |"
        " ssh-keygen -lf -`; have the server's owner confirm them.",
        examples=[["SHA256:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE"]],
    )
    algorithms: Literal["current", "legacy"] = Field(
        "current",
        description="The SSH algorithms to agree to: `current` ones only, or with `legacy` also outdated ones"
        " (CBC ciphers, MACs by SHA-1 or MD5, group exchange) for a server that offers nothing else.",
        examples=["current"],
    )
    folder: RemoteFolder = Field(
        description="The folder on the server that holds the files; relative ones begin at the login's"
        " folder. Where Webio puts them is assumed to be one folder without deeper ones.",
        examples=["/webhooks"],
    )
    connect_timeout_seconds: Seconds = Field(
        15, description="How long connecting and logging in may take.", examples=[15]
    )
    operation_timeout_seconds: Seconds = Field(
        30, description="How long the server may keep silent when it owes an answer.", examples=[30]
    )
    keepalive_seconds: Seconds = Field(30, description="How often an idle connection is kept alive.", examples=[30])
    in_flight: Whole = Field(
        256,
        ge=1,
        le=1024,
        description="The most requests on their way at once; fewer are used when the server refuses.",
        examples=[256],
    )
    reconnect_max_seconds: Seconds = Field(
        300,
        description="The longest pause between two tries to reach the server; it doubles up to this.",
        examples=[300],
    )

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:
        """Also: no way to log in, or no way to know the server."""
        yield from super().contradictions(given)
        if given.get("password") is None and given.get("private_key") is None:
            yield ("password",), "this or `private_key` is required: there is no way to log in"
        if not given.get("known_hosts") and not given.get("host_keys"):
            yield (
                ("host_keys",),
                "this or `known_hosts` is required, to be sure of the server; show its fingerprints with:"
                " ssh-keyscan -p PORT HOST | ssh-keygen -lf -",
            )


class DirectorySourceSettings(SourceBase):
    """A folder on this machine."""

    type: Literal["directory"] = Field(
        "directory", description="The kind of source; must be given.", examples=["directory"]
    )
    folder: AbsolutePath = Field(
        description="The folder on this machine that holds the files.", examples=["/srv/webio/incoming"]
    )


def _kind(given: Any) -> str | None:
    if isinstance(given, Mapping):
        kind = given.get("type", "sftp")
        return kind if isinstance(kind, str) else None
    return str(getattr(given, "type", "sftp"))


SourceSettings: TypeAlias = SftpSourceSettings | DirectorySourceSettings
AnySource = Annotated[
    Annotated[SftpSourceSettings, Tag("sftp")] | Annotated[DirectorySourceSettings, Tag("directory")],
    Discriminator(_kind),
]
