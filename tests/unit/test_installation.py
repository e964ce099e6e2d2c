"""What an installation decides by itself: the interpreter, the files, what is whose."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath

import pytest

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation import host, interpreter
from sftpd_processor.installation.environment import Wanted
from sftpd_processor.installation.files import Tree
from sftpd_processor.installation.shipped import PREFIX, Shipped, shipped
from sftpd_processor.installation.steps import Step

FILE = PurePosixPath("/usr/local/lib/a.conf")


def test_only_root_may_install_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody else is told to use sudo, or a folder of their own."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermanentError, match=r"sudo.*--root"):
        host.require_root()


def test_what_services_cannot_see() -> None:
    """Paths in homes are hidden from services, others are not."""
    for path in ("/root/.pyenv/bin/python", "/home/me/venv", "/run/user/1000/x"):
        assert interpreter.hidden(PurePosixPath(path))
    for path in ("/usr/bin/python3", "/opt/root/x", "/rooted"):
        assert interpreter.hidden(PurePosixPath(path)) is None


def test_a_closed_folder_is_out_of_reach(tmp_path: Path) -> None:
    """A program behind a folder that other accounts may not enter cannot be a service's, and the folder is named."""
    (tmp_path / "closed").mkdir(mode=0o700)
    program = tmp_path / "closed" / "python"
    program.touch(mode=0o755)
    assert "is closed to other accounts" in str(interpreter.unreachable(program))
    assert interpreter.unreachable(Path("/usr/bin/env")) is None


def test_an_interpreter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that will not do is replaced by the system's, and that is told; without any, the message says what to do."""
    unfit = {"mine": "it is Python 3.9"}
    monkeypatch.setattr(interpreter, "unsuitable", unfit.get)
    assert interpreter.choose("/usr/bin/python3") == ("/usr/bin/python3", "")
    assert interpreter.choose("mine") == (
        "/usr/bin/python3",
        "mine will not do (it is Python 3.9): taking /usr/bin/python3",
    )
    monkeypatch.setattr(interpreter, "unsuitable", lambda _python: "it is Python 3.9")
    with pytest.raises(PermanentError, match=r"(?s)mine will not do: it is Python 3\.9.*python3-venv.*PYTHON="):
        interpreter.choose("mine")


def test_what_an_interpreter_must_be(tmp_path: Path) -> None:
    """It must be there, run, and be new enough; a real one is asked."""
    old, broken = tmp_path / "old", tmp_path / "broken"
    old.write_text("#!/bin/sh\nprintf '3\\n9\\n/usr\\n'\n")
    broken.write_text("#!/bin/sh\nexit 1\n")
    for script in (old, broken):
        script.chmod(0o755)
    assert interpreter.unsuitable(str(old)) == "it is Python 3.9"
    assert interpreter.unsuitable(str(broken)) == "it cannot be run"
    assert interpreter.unsuitable(str(tmp_path / "none")) == "there is no such program"
    found = interpreter.unsuitable(sys.executable)
    assert found is None or "hidden from services" in found or "closed to other accounts" in found


@pytest.mark.parametrize(("version", "drop_ins"), [(None, 0), (252, 0), (253, 0), (254, 2), (258, 2)])
def test_growing_pauses_need_a_newer_systemd(version: int | None, drop_ins: int) -> None:
    """The drop-in with RestartSteps= is put beside both units where systemd knows it, and nowhere else."""
    names = [str(file.target) for file in shipped(PREFIX, version)]
    assert sum(name.endswith(".service.d/back-off.conf") for name in names) == drop_ins
    assert sum(name.endswith(".service") for name in names) == 2


def test_the_prefix_in_units() -> None:
    """Another prefix replaces every path of the program in the units, and nothing else in them."""
    for file, usual in zip(shipped(PurePosixPath("/srv/x"), None), shipped(PREFIX, None), strict=True):
        assert b"/opt/sftpd-processor" not in file.content
        assert file.content.replace(b"/srv/x/", b"/opt/sftpd-processor/") == usual.content


def test_versions_differ_when_anything_does(tmp_path: Path) -> None:
    """The name of an environment changes with the wheel, the constraints, the packages and the interpreter."""
    wheel, other = (
        tmp_path / "sftpd_processor-1.2.0-py3-none-any.whl",
        tmp_path / "x" / "sftpd_processor-1.2.0-py3-none-any.whl",
    )
    other.parent.mkdir()
    wheel.write_bytes(b"a")
    other.write_bytes(b"b")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("x==1")
    names = [
        Wanted(wheel, None, (), "/usr/bin/env").name,
        Wanted(other, None, (), "/usr/bin/env").name,
        Wanted(wheel, constraints, (), "/usr/bin/env").name,
        Wanted(wheel, None, ("psycopg",), "/usr/bin/env").name,
        Wanted(wheel, None, (), "/usr/bin/false").name,
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith("1.2.0-") for name in names)
    assert names[0] == Wanted(wheel, None, (), "/usr/bin/env").name


def test_only_a_wheel_of_ours_is_installed(tmp_path: Path) -> None:
    """Another file is refused by its name."""
    with pytest.raises(PermanentError, match="is no wheel of sftpd-processor"):
        _ = Wanted(tmp_path / "numpy-2.0-py3-none-any.whl", None, (), "python3").version


def test_links_are_turned_and_nothing_else(tmp_path: Path) -> None:
    """A link is made and turned; a file of somebody else's stays and is told, unless files may be replaced; and only a
    link that still leads to ours is removed."""
    tree, link = Tree(tmp_path, PREFIX), PurePosixPath("/usr/local/bin/x")
    first, second = PurePosixPath("/opt/1"), PurePosixPath("/opt/2")
    assert tree.link(link, first).did == "made"
    assert tree.link(link, first).did == "same"
    assert tree.link(link, second).did == "replaced"
    assert tree.unlink(link, first).did == "same"
    assert tree.unlink(link, second).did == "removed"
    tree.at(link).write_text("theirs")
    assert tree.link(link, first).did == "kept"
    assert tree.at(link).read_text() == "theirs"
    assert tree.link(link, first, over_files=True).did == "replaced"


def test_a_link_of_somebody_else_stays(tmp_path: Path) -> None:
    """A link that leads to another program is kept and told; one that leads below a prefix of ours, this one's or
    another's, or nowhere, is turned."""
    tree, link = Tree(tmp_path, PurePosixPath("/srv/new")), PurePosixPath("/usr/local/bin/x")
    kept = {}
    for prefix in ("/opt/pipx", "/opt/sftpd-processor", "/srv/new", "/srv/old", "/nowhere"):
        target = PurePosixPath(prefix) / "bin/x"
        if prefix != "/nowhere":
            tree.at(target).parent.mkdir(parents=True)
            tree.at(target).touch()
        if prefix == "/srv/old":
            Tree(tmp_path, PurePosixPath(prefix)).save()
        tree.link(link, target, over_files=True)
        kept[prefix] = tree.link(link, PurePosixPath("/srv/new/bin/new")).did == "kept"
        assert (tree.at(link).readlink() == Path(target)) == kept[prefix]
    assert [prefix for prefix in kept if kept[prefix]] == ["/opt/pipx"]


def test_every_change_by_hand_is_kept(tmp_path: Path) -> None:
    """A file that was changed twice, before two upgrades, is kept twice, and both are told at the removal."""
    tree = Tree(tmp_path, PREFIX)
    tree.put(Shipped(FILE, b"1"))
    for number in ("2", "3"):
        tree.at(FILE).write_text(f"by hand {number}")
        tree.put(Shipped(FILE, number.encode()))
    saved = {name: tree.at(FILE.with_name(name)).read_text() for name in ("a.conf.saved", "a.conf.saved.1")}
    assert saved == {"a.conf.saved": "by hand 2", "a.conf.saved.1": "by hand 3"}
    assert [step.did for step in tree.remove_all()] == ["removed", "kept", "kept"]


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    """A list of what was installed that cannot be read is named, and what to do with it."""
    listed = tmp_path / "opt/sftpd-processor/installed.json"
    listed.parent.mkdir(parents=True)
    listed.write_text("{")
    with pytest.raises(PermanentError, match=r"installed\.json is damaged; move it away"):
        Tree(tmp_path, PREFIX)


def test_what_is_put_is_what_is_removed(tmp_path: Path) -> None:
    """Of the files that were put, also by an earlier run, those are removed that nobody changed."""
    tree = Tree(tmp_path, PREFIX)
    for name in ("a", "b"):
        assert tree.put(Shipped(FILE.with_name(name), b"ours")).did == "made"
    tree.save()
    tree.at(FILE.with_name("b")).write_bytes(b"theirs")
    steps = list(Tree(tmp_path, PREFIX).remove_all())
    assert steps == [
        Step("removed", str(FILE.with_name("a"))),
        Step("kept", str(FILE.with_name("b")), "it was changed by hand"),
    ]
    assert not tree.at(FILE.with_name("a")).exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The system's own words, with the path."""
    (tmp_path / "usr").write_text("a file")
    with pytest.raises(PermanentError, match=r"a\.conf cannot be read or written: Not a directory"):
        Tree(tmp_path, PREFIX).put(Shipped(FILE, b"x"))
