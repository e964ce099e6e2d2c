"""What the public listener is made of, as far as the configuration can be wrong about it."""

from __future__ import annotations

from pathlib import Path

from sftpd_processor.config.settings import HttpSettings, Settings
from sftpd_processor.errors import all_of
from sftpd_processor.http.tls import tls_context
from sftpd_processor.http.token import Verifier
from sftpd_processor.values.registry import ProviderContext, Providers, build_providers


def make_providers(settings: Settings, http: HttpSettings, config_folder: Path) -> Providers:
    """The configured providers; raises `ConfigurationError` with every mistake in them."""
    return build_providers(settings.values, ProviderContext(config_folder, http.custom_values_deadline_seconds))


def check_trust(http: HttpSettings) -> None:
    """Raise `ConfigurationError` with every mistake in secrets, certificate and key."""
    all_of(lambda: tls_context(http), lambda: Verifier(http))


def check_parts(settings: Settings, http: HttpSettings, config_folder: Path) -> None:
    """The same, with the providers: what would end each start of the listener is told before the first."""
    all_of(lambda: check_trust(http), lambda: make_providers(settings, http, config_folder))
