"""The relay cuts connections when it is asked to, and counts them."""

from __future__ import annotations

import math

import pytest

from sftpd_processor.testing.relay import cutting_relay, random_lifetimes
from tests.support import wait_until
from tests.unit.test_testing_relay import connect, echo_server


def test_every_connection_is_cut_and_counted() -> None:
    """With a share of 1 each connection breaks before a million bytes have gone through, and the count says so."""
    with echo_server() as echo, cutting_relay("127.0.0.1", echo, seed=1, share=1.0) as relay:
        for _ in range(5):
            with connect(relay.port) as connection, pytest.raises(OSError):
                for _ in range(1000):
                    connection.sendall(b"x" * 1000)
                    if not connection.recv(1000):
                        raise OSError("it was closed")
        wait_until(lambda: relay.cuts == 5, what="the cuts to be counted")


def test_a_share_of_nothing_cuts_nothing() -> None:
    """With a share of 0 a million bytes go through each connection, and none is counted."""
    with echo_server() as echo, cutting_relay("127.0.0.1", echo, seed=1, share=0.0) as relay:
        with connect(relay.port) as connection:
            for _ in range(1000):
                connection.sendall(b"x" * 1000)
                got = 0
                while got < 1000:
                    got += len(connection.recv(1000))
        assert relay.cuts == 0


def test_the_moments_are_of_chance_and_repeatable() -> None:
    """One seed gives the same lifetimes again; the share is about kept, and they lie at all magnitudes."""
    first, again = (random_lifetimes(3, 0.25) for _ in range(2))
    lives = [first() for _ in range(2000)]
    assert lives == [again() for _ in range(2000)]
    cut = [life for life in lives if life < math.inf]
    assert 0.2 < len(cut) / len(lives) < 0.3
    assert min(cut) < 3_000
    assert max(cut) > 300_000
