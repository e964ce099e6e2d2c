"""`make dist`, `make install` and `make uninstall`, staged in a folder by DESTDIR."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.test_readme import blocks
from tests.staging import Stage
from tests.systemd import stage as systemd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
UNIT = "/usr/local/lib/systemd/system/sftpd-processor.service"
CONFIG = "/etc/sftpd-processor/config.toml"
pytestmark = pytest.mark.timeout(400)  # the first of them builds and installs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `make install` was run, once for all tests that need it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    systemd.once(shared / "installed", systemd.install)
    return shared


@pytest.fixture(scope="module")
def untouched(made: Path) -> Stage:
    """What `make install` has staged; not to be changed."""
    return Stage(made / "installed")


@pytest.fixture
def stage(untouched: Stage, tmp_path: Path) -> Stage:
    """The same, for this test alone."""
    return untouched.copied_to(tmp_path / "root")


def make(target: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run a target of the Makefile on a stage."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(ROOT), target, f"DESTDIR={root}"]
    return subprocess.run(command, env=kept, capture_output=True, text=True, check=False)


def planned(*words: str, **environment: str) -> str:
    """The commands that `make` would run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "-C", str(ROOT), *words]
    return subprocess.check_output(command, env=kept | environment, text=True)


def newer(stage: Stage) -> Path:
    """Another version beside the one that is used, not yet installed."""
    folder = stage.versions / "9.9.9-00000000"
    subprocess.run(["cp", "-al", str(stage.used), str(folder)], check=True)
    return folder


def test_the_packages_hold_what_an_installation_needs(made: Path) -> None:
    """The wheel has the units, the account and the example inside it, as they are here; the source archive has what
    `make install` needs, and neither has anything else than this project."""
    (wheel,), (archive,) = made.glob("installed*.dist/*.whl"), made.glob("installed*.dist/*.tar.gz")
    units = [path.relative_to(ROOT) for path in (ROOT / "systemd").rglob("*") if path.is_file()]
    with zipfile.ZipFile(wheel) as opened:
        for path in (*units, Path("config.example.toml")):
            assert opened.read(f"sftpd_processor/_service/{path}") == (ROOT / path).read_bytes()
        assert {name.split("/")[0].split("-")[0] for name in opened.namelist()} == {"sftpd_processor"}
    with tarfile.open(archive) as opened_archive:
        names = {name.partition("/")[2] for name in opened_archive.getnames()}
    assert {"Makefile", "constraints.txt", "pyproject.toml", *map(str, units)} <= names
    assert {name.split("/")[0] for name in names if "." not in name.split("/")[0]} == {
        "LICENSE", "Makefile", "PKG-INFO", "docs", "sftpd_processor", "systemd",
    }  # fmt: skip


def test_the_environment_moves_no_folder() -> None:
    """What a CI or conda calls DIST, BUILD and PREFIX is neither removed nor written by `make`; its arguments win."""
    names = ("BUILD", "DIST", "PREFIX")
    assert "/theirs" not in planned("install", "clean", **dict.fromkeys(names, "/theirs"))
    assert 'rm -rf "/my own"' in planned("dist", "DIST=/my own")


def test_a_builder_that_does_not_run_is_made_anew(tmp_path: Path) -> None:
    """`make dist` makes its tools again when their interpreter has gone, and not when they work."""
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    (tmp_path / "venv/.ready").touch()
    python.symlink_to("/usr/bin/python3.0")
    assert "-m venv --clear" in planned("dist", f"BUILD={tmp_path}")
    python.unlink()
    python.symlink_to("/bin/true")
    assert "-m venv" not in planned("dist", f"BUILD={tmp_path}")


def test_it_puts_everything_into_place(untouched: Stage) -> None:
    """Units, the account's description, a sample configuration that others cannot read, and the command by a link."""
    assert untouched.at(UNIT).read_bytes() == (ROOT / "systemd/sftpd-processor.service").read_bytes()
    template = untouched.at(UNIT.replace(".service", "@.service"))
    assert template.read_bytes() == (ROOT / "systemd/sftpd-processor@.service").read_bytes()
    assert untouched.at("/usr/local/lib/sysusers.d/sftpd-processor.conf").is_file()
    config = untouched.at(CONFIG)
    assert config.read_bytes() == (ROOT / "config.example.toml").read_bytes()
    assert (config.stat().st_mode & 0o777, config.parent.stat().st_mode & 0o777) == (0o640, 0o750)
    command = untouched.at("/usr/local/bin/sftpd-processor")
    assert command.readlink() == Path("/opt/sftpd-processor/bin/sftpd-processor")
    assert untouched.used.parent == untouched.versions


def test_the_staged_program_runs(untouched: Stage) -> None:
    """The installed program says its version, and every path in its environment is that of the final machine."""
    python = untouched.used / "bin/python"
    said = subprocess.check_output([python, "-I", "-m", "sftpd_processor.cli.main", "--version"], text=True)
    assert said.startswith("sftpd-processor ")
    script = (untouched.used / "bin/sftpd-processor").read_text()
    assert script.startswith(f"#!/opt/sftpd-processor/versions/{untouched.used.name}/bin/python")
    searched = ["grep", "-rlF", "--exclude=direct_url.json", str(untouched.root), str(untouched.root)]
    assert subprocess.run(searched, capture_output=True, text=True, check=False).stdout == ""


def test_the_wheel_alone_installs_the_same(stage: Stage, made: Path) -> None:
    """The wheel, without a checkout and by the page's command, does what `make install` does; done once more it leaves
    an edited configuration, makes nothing new, and says that all is in place."""
    stage.at(CONFIG).write_text("# mine\n")
    before = stage.used
    (wheel,) = made.glob("installed*.dist/*.whl")
    (command,) = blocks("sh wheel", PAGE)
    options = f"--destdir {stage.root} --constraint {ROOT}/constraints.txt --packages 'psycopg[binary]'"
    clean = {"PATH": os.environ["PATH"]}
    said = subprocess.check_output(
        ["sh", "-euc", f"{command.strip()} {options}"], cwd=wheel.parent, env=clean, text=True
    )
    kept = f"kept      /opt/sftpd-processor/versions/{before.name}\n"
    assert said == f"{kept}nothing to do: everything is in place\n"
    assert stage.at(CONFIG).read_text() == "# mine\n"
    assert (stage.used, len(list(stage.versions.iterdir()))) == (before, 1)


def test_an_upgrade_keeps_the_version_before(stage: Stage) -> None:
    """A newer version is used from then on; the one before stays for what still runs from it, and older ones go unless
    a process runs from them."""
    first = stage.used
    old, running = stage.versions / "0.0.1-old", stage.versions / "0.0.2-running"
    for folder in (old, running):
        subprocess.run(["cp", "-al", str(first), str(folder)], check=True)
    with subprocess.Popen([running / "bin/python", "-c", "input()"], stdin=subprocess.PIPE) as process:
        steps = stage.steps("install", version=newer(stage))
        process.communicate(b"\n")
    assert stage.used.name == "9.9.9-00000000"
    assert steps["/opt/sftpd-processor/bin/sftpd-processor"] == "replaced"
    assert steps["/opt/sftpd-processor/versions/0.0.1-old"] == "removed"
    assert {path.name for path in stage.versions.iterdir()} == {first.name, "0.0.2-running", "9.9.9-00000000"}


def test_an_upgrade_of_a_plain_environment(stage: Stage) -> None:
    """A program that was installed into /opt/sftpd-processor itself, as older instructions said, is left as it is but
    for its command, which leads to the new one."""
    version = newer(stage)
    folder = stage.at("/opt/sftpd-processor/bin")
    for path in folder.iterdir():
        path.unlink()
    (folder / "sftpd-processor").write_text("#!/opt/sftpd-processor/bin/python\n")
    (folder / "python").write_text("the old one's")
    assert stage.steps("install", version=version)["/opt/sftpd-processor/bin/sftpd-processor"] == "replaced"
    assert stage.used == version
    assert (folder / "python").read_text() == "the old one's"


def test_packages_that_were_added_are_not_lost(stage: Stage) -> None:
    """A version without a package that was added to the one in use is refused, with the command that adds it; what the
    program itself needs is not counted, and --without-packages goes on."""
    first, version = stage.used, newer(stage)
    for name, needs in (("my-crm", ""), ("rich", "")):
        info = next(first.glob("lib/python*/site-packages")) / f"{name}-0.1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n{needs}")
    ran = stage.service("install", version=version)
    assert ran.returncode == 1
    assert "packages that this one lacks: my-crm. Add them: " in ran.stderr
    assert f"/opt/sftpd-processor/versions/{version.name}/bin/pip install my-crm" in ran.stderr
    assert stage.used == first
    assert stage.service("install", "--without-packages", version=version).returncode == 0
    assert stage.used == version


def test_a_unit_changed_by_hand_is_kept_beside(stage: Stage) -> None:
    """What somebody wrote into a unit is not lost when the unit is put into place again, and it is told."""
    ours = stage.at(UNIT).read_bytes()
    stage.at(UNIT).write_text("# by hand\n")
    ran = stage.service("install")
    assert f"replaced  {UNIT}: it had been changed by hand, and that is now in {UNIT}.saved" in ran.stdout
    assert stage.at(f"{UNIT}.saved").read_text() == "# by hand\n"
    assert stage.at(UNIT).read_bytes() == ours


def test_a_unit_of_an_older_version_is_replaced(stage: Stage) -> None:
    """A unit as the last version had put it is replaced without a copy."""
    listed = stage.at("/opt/sftpd-processor/installed.json")
    hashes = json.loads(listed.read_text())
    stage.at(UNIT).write_text("# of the last version\n")
    hashes[UNIT] = hashlib.sha256(stage.at(UNIT).read_bytes()).hexdigest()
    listed.unlink()  # a hard link
    listed.write_text(json.dumps(hashes))
    assert stage.steps("install")[UNIT] == "replaced"
    assert not stage.at(f"{UNIT}.saved").exists()


def test_another_prefix_is_found_again(stage: Stage) -> None:
    """The units start the program from the prefix that it lies in; `service install` and `service uninstall` find that
    prefix by themselves, and where nothing is installed an uninstallation is refused."""
    other = stage.at("/srv/inbox")
    other.mkdir(parents=True)
    shutil.move(stage.versions, other / "versions")
    version = next((other / "versions").iterdir())
    stage.steps("install", "--prefix", "/srv/inbox", version=version)
    assert "ExecStart=/srv/inbox/bin/sftpd-processor -c" in stage.at(UNIT).read_text()
    assert stage.at("/usr/local/bin/sftpd-processor").readlink() == Path("/srv/inbox/bin/sftpd-processor")
    assert set(stage.steps("install", version=version).values()) == {"same"}
    refused = stage.service("uninstall", "--prefix", "/srv/other", version=version)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "nothing is installed in /srv/other; name the folder where it is by --prefix" in refused.stderr
    assert stage.steps("uninstall", version=version)[UNIT] == "removed"
    assert [path.name for path in other.iterdir()] == ["versions"]


def test_uninstall_leaves_what_is_the_operators(stage: Stage) -> None:
    """`make uninstall` removes what was put there; configuration, state, drop-ins and changed units stay, and it says
    so with the command that removes them."""
    dropin = stage.at("/etc/systemd/system/sftpd-processor.service.d/override.conf")
    ledger = stage.at("/var/lib/sftpd-processor/ledger.db")
    for path in (dropin, ledger):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    template = stage.at(UNIT.replace(".service", "@.service"))
    template.write_text("# by hand\n")
    said = make("uninstall", stage.root)
    assert said.returncode == 0, said.stderr
    left = {str(path.relative_to(stage.root)) for path in stage.root.rglob("*") if not path.is_dir()}
    assert left == {str(path.relative_to(stage.root)) for path in (stage.at(CONFIG), dropin, ledger, template)}
    for word in ("/etc/sftpd-processor", "/var/lib/sftpd-processor", "/etc/systemd/system/sftpd-processor.service.d"):
        assert f"to remove: rm -r {word}\n" in said.stdout
    assert "@.service: it was changed by hand" in said.stdout
    assert not stage.at("/opt/sftpd-processor").exists()
    again = make("uninstall", stage.root)
    assert (again.returncode, "nothing is installed in" in again.stderr) == (2, True)


def test_a_place_that_cannot_be_written(stage: Stage) -> None:
    """A read-only place is told in one line, with the path."""
    stage.at(UNIT).parent.rename(stage.at("/aside"))
    stage.at(UNIT).parent.write_text("a file where a folder should be")
    ran = stage.service("install")
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert f"{stage.at(UNIT)} cannot be read or written: Not a directory" in ran.stderr


def test_the_page_shows_what_is_printed(stage: Stage) -> None:
    """What docs/install.md shows of a first installation is what it prints, in that order, but for what only a real
    machine does."""
    version = stage.used
    for path in ("/etc", "/usr", "/opt/sftpd-processor/bin"):
        shutil.rmtree(stage.at(path))
    stage.at("/opt/sftpd-processor/installed.json").unlink()
    said = stage.service("install", version=version).stdout.splitlines()
    (shown,) = blocks("text install", PAGE)
    lines = [line for line in shown.splitlines() if line.startswith("made") and "/versions/" not in line]
    assert lines == [line for line in said if "back-off.conf" not in line]


def test_what_the_page_names_exists() -> None:
    """Each `make` target of the page is in the Makefile, and each message in the program, word for word."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make (\w+)", PAGE, re.MULTILINE)) <= set(targets)
    source = "".join(path.read_text() for path in sorted((ROOT / "sftpd_processor").rglob("*.py")))
    source = re.sub(r"""["']\s*\n\s*f?["']""", "", source)
    messages = [
        found for cell in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) for found in cell.strip("`").split("…")
    ]
    assert len(messages) > 10
    assert [message for message in messages if message.strip() not in source] == []
