"""The verb `token`: make a token such as Webio sends, and find out why one is refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured

if TYPE_CHECKING:
    from sftpd_processor.config.http import HttpSettings

API_KEY = "WEBIO_API_KEY"
SECRET = "WEBIO_TOKEN_SECRET"  # noqa: S105 - the name of a variable
_STDIN = "-"
_LONGEST = 65_536  # bytes; more is no token and no secret

app = typer.Typer(
    name="token",
    help="Make tokens, or find out why one is refused.\n\nSecrets are never given as arguments, which others on this"
    " machine can see, but in files, variables or on standard input.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def mint(
    ctx: typer.Context,
    organisation: Annotated[str, typer.Option(metavar="ID", help="The organisation's id at Webio.")],
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with Webio's API key, - for standard input. Default: the variable ${API_KEY}, else none."
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help=f"A file with the secret, - for standard input. Default: the variable ${SECRET}, else the first of"
            " http.token_secrets in the configuration."
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, max=36_500, help="How long it is right. Default: for ever.")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="One more claim; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a token, for tests and for setting up.

    It is alone on standard output, so that it can be piped. Which claims Webio's own have is not published: these are
    organisationId, iat, apiKeyHash (a fingerprint of the API key, if given), and exp with --days.
    """
    from sftpd_processor.http.token import mint as minted

    claims = _claims(claim or [])
    api_key = _given(api_key_file, API_KEY)
    secret = _given(secret_file, SECRET) or _first_secret(configured(ctx))
    token = minted(organisation, api_key, secret, days=days, claims=claims)
    body = _body(token)
    if as_json:
        sys.stdout.write(json.dumps({"token": token, "claims": body}) + "\n")
        return
    sys.stdout.write(f"{token}\n")
    until = f"for {days:g} days" if days is not None else "until the secret is changed"
    sys.stderr.write(f"signed by HS256, right {until}; claims (assumed): {json.dumps(body)}\n")


@app.command()
def verify(
    ctx: typer.Context,
    token: Annotated[str | None, typer.Argument(metavar="[TOKEN|-]", help="The token; - for standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the token.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Say whether the configuration takes a token, or exactly why not.

    A token is what lets others in: rather than as an argument, give it by standard input or in a file.
    """
    from sftpd_processor.http.token import Verifier

    if (token is None) == (file is None):
        raise typer.BadParameter("give the token, or - and the token on standard input, or --file")
    text = _read(file or Path(_STDIN)) if file is not None or token == _STDIN else token
    finding = Verifier(_http(configured(ctx))).examine(text or "")
    if as_json:
        claims = dict(finding.claims) if finding.claims is not None else None
        sys.stdout.write(json.dumps({"right": finding.right, "why": finding.told, "claims": claims}) + "\n")
    else:
        sys.stdout.write(f"{'right' if finding.right else 'refused'}: {finding.told}\n")
    raise typer.Exit(exit_codes.DONE if finding.right else exit_codes.FAILED)


def _claims(given: list[str]) -> dict[str, str]:
    claims = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint="--claim")
        if name in ("iat", "exp", "nbf"):
            raise typer.BadParameter(f"{name} is a time, which is set by --days", param_hint="--claim")
        claims[name] = value
    return claims


def _given(file: Path | None, variable: str) -> str:
    return _read(file) if file is not None else os.environ.get(variable, "")


def _read(file: Path) -> str:
    """What a file or standard input holds, without the end of its line."""
    from sftpd_processor.errors import PermanentError

    try:
        if str(file) == _STDIN:
            data = sys.stdin.buffer.read(_LONGEST)
        else:
            with file.open("rb") as opened:
                data = opened.read(_LONGEST)
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise PermanentError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise PermanentError(f"{file} is not UTF-8 text") from None


def _first_secret(config: Configured) -> str:
    secrets = _http(config).token_secrets
    if not secrets:
        raise typer.BadParameter(f"a secret is required: give --secret-file, or set ${SECRET}")
    return secrets[0].get_secret_value()


def _http(config: Configured) -> HttpSettings:
    from sftpd_processor.errors import ConfigurationError, Problem

    if config.settings.http is None:
        problem = Problem("http", "is missing: it says which secrets and tokens are right; see docs/tokens.md")
        raise ConfigurationError([problem], origin=str(config.path))
    return config.settings.http


def _body(token: str) -> dict[str, Any]:
    import jwt

    return jwt.decode(token, options={"verify_signature": False})
