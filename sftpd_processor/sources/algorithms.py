"""The SSH algorithms that we agree to, and in plain words what a server offers that shares none of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from sftpd_processor.sources.lean import paramiko

Names: TypeAlias = tuple[str, ...]

CURRENT: Mapping[str, frozenset[str]] = {
    "kex": frozenset(
        {
            "mlkem768x25519-sha256",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            "ecdh-sha2-nistp256",
            "ecdh-sha2-nistp384",
            "ecdh-sha2-nistp521",
            "diffie-hellman-group14-sha256",
            "diffie-hellman-group16-sha512",
            "diffie-hellman-group18-sha512",
        }
    ),
    "ciphers": frozenset(
        {
            "aes128-gcm@openssh.com",
            "aes256-gcm@openssh.com",
            "chacha20-poly1305@openssh.com",
            "aes128-ctr",
            "aes192-ctr",
            "aes256-ctr",
        }
    ),
    "macs": frozenset(
        {
            "hmac-sha2-256-etm@openssh.com",
            "hmac-sha2-512-etm@openssh.com",
            "hmac-sha2-256",
            "hmac-sha2-512",
        }
    ),
}
"""What `algorithms = "current"` allows, whatever paramiko would offer by itself; the kinds have paramiko's names.

Not among them: CBC modes, SHA-1, MD5, and group exchange, in which the server chooses the group.
"""

_SIGNATURES = frozenset(
    {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-256",
        "rsa-sha2-512",
    }
)
_ALLOWED = {**CURRENT, "keys": _SIGNATURES, "pubkeys": _SIGNATURES}
_WORDS = {"kex": "key exchange", "keys": "kind of host key", "ciphers": "cipher", "macs": "MAC"}
_EXAMPLES = {
    "kex": "curve25519-sha256 or diffie-hellman-group16-sha512",
    "keys": "ssh-ed25519 or rsa-sha2-512",
    "ciphers": "aes256-gcm@openssh.com or aes256-ctr",
    "macs": "hmac-sha2-256-etm@openssh.com or hmac-sha2-256",
}
_KEXINIT = 20
_HEAD = 22  # the packet's length, its padding's, its number, and 16 random bytes
_LISTS = ("kex", "keys", "ciphers", "ciphers", "macs", "macs")  # for both directions, RFC 4253 section 7.1
_NO_ALGORITHMS = ("ext-info-", "kex-strict-")  # announcements that stand among the key exchanges
_NAME = re.compile(r"[A-Za-z0-9@.+/_-]{1,64}")
_SHOWN = 6


def restrict(transport: paramiko.Transport, *, legacy: bool) -> None:
    """Let `transport` agree to current algorithms only, unless `legacy`; the fast and the sound ones come first."""
    if not legacy:
        for kind, allowed in _ALLOWED.items():
            offered: Names = getattr(transport, f"preferred_{kind}")
            transport.disabled_algorithms[kind] = [name for name in offered if name not in allowed]
    order = transport.get_security_options()
    # One pass in OpenSSL, where the other ciphers need a second one for the MAC.
    order.ciphers = sorted(order.ciphers, key=lambda name: "gcm" not in name)
    # Encrypt, then authenticate; and SHA-1 or MD5 only when there is nothing else.
    order.digests = sorted(order.digests, key=lambda name: ("sha2" not in name, "etm" not in name))


def disagreement(transport: paramiko.Transport, greeting: bytes) -> str | None:
    """Which kind of algorithm we do not share with the server whose first bytes were `greeting`, and what to do.

    None when they share one of each kind, or when those bytes do not tell.
    """
    offers = _offers(greeting)
    security = transport.get_security_options()  # holds also what is disabled
    known = {"kex": security.kex, "keys": security.key_types, "ciphers": security.ciphers, "macs": security.digests}
    for kind, theirs in offers:
        if not set(theirs) & set(known[kind]):
            return (
                f"no {_WORDS[kind]} in common: the server offers {_shown(theirs)}, which this program does not know "
                f'(not with algorithms = "legacy" either); ask the server\'s owner to allow {_EXAMPLES[kind]}'
            )
    for kind, theirs in offers:
        if not set(theirs) & set(getattr(transport, f"preferred_{kind}")):
            return (
                f"no {_WORDS[kind]} in common: the server offers {_shown(theirs)}, which is outdated; ask its owner "
                f'to allow {_EXAMPLES[kind]}, or set algorithms = "legacy" for this source'
            )
    return None


def _offers(greeting: bytes) -> list[tuple[str, Names]]:
    """The lists of names in the server's first packet (RFC 4253 sections 4.2, 6 and 7.1), which is not encrypted.

    Empty when it is no such packet, or is cut short.
    """
    identified = re.search(rb"^SSH-[^\n]*\n", greeting, re.MULTILINE)
    packet = greeting[identified.end() :] if identified else b""
    if len(packet) < _HEAD or packet[5] != _KEXINIT:
        return []
    found, at = [], _HEAD
    for kind in _LISTS:
        if len(packet) < at + 4:
            return []
        end = at + 4 + int.from_bytes(packet[at : at + 4])
        if len(packet) < end:
            return []
        names = packet[at + 4 : end].decode("ascii", "replace").split(",")
        found.append((kind, tuple(name for name in names if not name.startswith(_NO_ALGORITHMS))))
        at = end
    return found


def _shown(names: Names) -> str:
    """Names from outside: a few of them, and only those that are names."""
    good = [name for name in names if _NAME.fullmatch(name)]
    if not good:
        return "none at all"
    return "only " + ", ".join(good[:_SHOWN]) + (", …" if len(good) > _SHOWN else "")
