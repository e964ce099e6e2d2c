"""Settings of alerts: what is refused, and what is said of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sftpd_processor.alerts import mistakes
from sftpd_processor.alerts.addresses import service
from sftpd_processor.alerts.mistakes import check_alerts, check_alerts_aside
from sftpd_processor.config.alerts import CAUSES, LEARN
from sftpd_processor.config.load import load_settings
from sftpd_processor.errors import ConfigurationError
from tests.alert_items import alert
from tests.unit.config_samples import sftp, table, whys, write

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # imported by apprise, for encryption
SECRET = "Qzx-token"
ALERT = {"name": '"operators"', "urls": f'["slack://{SECRET}"]'}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the source."""
    monkeypatch.setenv("WEBIO_PASSWORD", "pw")


def wrong(folder: Path, **changes: str | None) -> dict[str, str]:
    """What is wrong with an alert, by key."""
    found = whys(write(folder, sftp() + table("[[alerts]]", ALERT, **changes)))
    return {where.removeprefix("alerts[0]."): why for where, why in found.items()}


def test_defaults(tmp_path: Path) -> None:
    """Two lines are enough: then every cause is told."""
    [made] = load_settings(write(tmp_path, sftp() + table("[[alerts]]", ALERT))).alerts
    assert made.on == CAUSES
    assert made.urls[0].get_secret_value() == f"slack://{SECRET}"
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("urls", "[]", "names no address at all"),
        ("urls", '[""]', "is empty"),
        ("on", "[]", "names no cause at all"),
        ("on", '["sources"]', "must be 'source'"),
        ("source_minutes", "0", "must be more than 0"),
        ("grown_by", "0", "must be 1 or more"),
        ("disk_percent", "100", "must be 99.99 or less"),
        ("expiry_days", '"14"', "must be a number"),
        ("silence", '{ payment = "learned" }', 'must be a number of minutes, at most 525600, or "learn"'),
        ("silence", "{ payment = true }", "must be a number of minutes"),
        ("silence", "{ payment = 0 }", "must be a number of minutes"),
        ("minutes", "5", "unknown key"),
    ],
)
def test_what_is_refused(tmp_path: Path, key: str, value: str, why: str) -> None:
    """Each mistake is told by its key, with what would be right, and never with an address."""
    [(where, told)] = wrong(tmp_path, **{key: value}).items()
    assert where.startswith(key)
    assert why in told
    assert SECRET not in told


def test_two_of_one_name(tmp_path: Path) -> None:
    """Names must differ: what was told goes by them."""
    both = table("[[alerts]]", ALERT) * 2
    assert "is the name of another one" in whys(write(tmp_path, sftp() + both))["alerts[1].name"]


def test_an_address_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    """An address is a secret: written out, it needs a file that is its owner's alone."""
    found = whys(write(tmp_path, sftp() + table("[[alerts]]", ALERT), 0o644))
    assert "others can read this file" in found["alerts[0].urls[0]"]


def test_silence_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes and `learn` can be set from outside, too."""
    monkeypatch.setenv("SFTPD_PROCESSOR__ALERTS__0__SILENCE", '{"payment": 30, "setStatus": "learn"}')
    [made] = load_settings(write(tmp_path, sftp() + table("[[alerts]]", ALERT))).alerts
    assert made.silence == {"payment": 30, "setStatus": LEARN}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (SECRET, "is no address"),
        (f"{SECRET}://x", "is no address"),
        ("qzxtoken://x", "does not know"),
        ("exec://Qzx", "does not know"),
        ("file:///Qzx", "does not know"),
        ("dbus://", "ends on this machine (dbus://)"),
        ("syslog://Qzx", "ends on this machine"),
        (f"slack://{SECRET}", "lacks something"),
        ("mailto://Qzx", "lacks something"),
        (f"https://example.com/{SECRET}", "lacks something"),
        ("json://localhost?template=/etc/Qzx", "has the parameter `template`"),
        ("fcm://project@Qzx/?keyfile=https://Qzx/", "has the parameter `keyfile`"),
    ],
)
def test_addresses_that_are_refused(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with an address is told by `check`, without any part of it, and apprise logs nothing."""
    heard: list[logging.LogRecord] = []
    ear = logging.Handler()
    ear.emit = heard.append  # type: ignore[method-assign,assignment]
    monkeypatch.setattr(logging.getLogger(), "handlers", [ear])  # as `check` writes to standard error
    with pytest.raises(ConfigurationError, match=r"alerts\[0\]\.urls\[1\]") as caught:
        check_alerts([alert("json://localhost", url)])
    assert why in str(caught.value)
    assert "qzx" not in str(caught.value).lower()
    assert heard == []


@pytest.mark.parametrize(
    "url",
    [
        "mailtos://user:password@smtp.example.com?from=inbox@example.com&to=operator@example.com",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "jsons://example.com/hook?+x-token=abc",
        "pagerduty://integration@key",
        "tgram://123456789:abcdefg_hijklmnop/12315544",
    ],
)
def test_addresses_that_are_good(url: str) -> None:
    """The usual ones are taken."""
    assert service(url, 1) is not None


def test_types_that_there_are_not() -> None:
    """A type of event in `silence` must be one that is counted by its name; the nearest one is told."""
    with pytest.raises(ConfigurationError) as caught:
        check_alerts([alert(silence={"payments": 5, "other": 5, "inboundMessage": "learn"})])
    [problem] = caught.value.problems
    assert problem.where == "alerts[0].silence.payments"
    assert "did you mean 'payment'" in problem.why


def test_the_daemon_checks_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise is asked in another process, and the same is told of each alert as by `check`."""
    both = [alert("json://localhost", silence={"payments": 5}), alert("json://localhost", f"slack://{SECRET}")]
    with pytest.raises(ConfigurationError) as expected:
        check_alerts(both)
    monkeypatch.setattr("sftpd_processor.alerts.addresses.service", None)  # of no use here
    with pytest.raises(ConfigurationError) as caught:
        check_alerts_aside(both)
    assert [str(problem) for problem in caught.value.problems] == [str(it) for it in expected.value.problems]
    assert [problem.where for problem in caught.value.problems] == ["alerts[0].silence.payments", "alerts[1].urls[1]"]
    check_alerts_aside(both[1:1])


@pytest.mark.parametrize("command", [("/nowhere/python",), ("false",), ("sleep", "60")])
def test_what_cannot_be_checked_is_taken(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the other process cannot be started, dies or hangs, addresses are taken, and the log says so."""
    monkeypatch.setattr(mistakes, "_COMMAND", command)
    monkeypatch.setattr(mistakes, "_SECONDS", 0.5)
    check_alerts_aside([alert(f"slack://{SECRET}")])
    assert "alerts: the addresses could not be checked, and are taken" in caplog.text
    with pytest.raises(ConfigurationError, match="payments"):
        check_alerts_aside([alert(silence={"payments": 5})])
