"""The verb simulate, as a command: what it writes, what it reports, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from sftpd_processor.cli.simulate import simulate
from sftpd_processor.config.schema import toml
from tests.support import ServedFolder, wait_until


@dataclass
class Options:
    """What the command's callback leaves for its verbs."""

    config: Path | None = None
    debug: bool = False


app = typer.Typer()
app.command()(simulate)


def run(*arguments: str, config: Path | None = None) -> Result:
    return CliRunner().invoke(app, arguments, obj=Options(config))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_go_into_a_new_local_folder(tmp_path: Path) -> None:
    """--to makes the folder, fills it with whole files and leaves no temporary name behind."""
    folder = tmp_path / "deep" / "in"
    result = run("--to", str(folder), "--count", "50", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert len(names(folder)) == 50
    assert all(json.loads(path.read_bytes())["type"] for path in folder.iterdir())
    assert "50 files" in result.stdout


def test_the_same_seed_writes_the_same(tmp_path: Path) -> None:
    """Two runs with one seed write the same names and bytes; without a seed the names differ."""
    for name, seed in {"a": ["--seed", "4"], "b": ["--seed", "4"], "c": []}.items():
        assert run("--to", str(tmp_path / name), "--count", "30", *seed).exit_code == 0
    first, again, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc")
    assert first == again
    assert first != other


def test_json_counts_every_kind(tmp_path: Path) -> None:
    """--json tells how many of each kind were written, and they add up to the files in the folder."""
    shares = ["--duplicates", "0.1", "--half", "0.1", "--broken", "0.1", "--arrays", "0.1", "--lines", "0.1"]
    more = ["--conflicts", "0.1", "--unknown", "0.1"]
    result = run("--to", str(tmp_path), "--count", "400", "--seed", "2", *shares, *more, "--json")
    report = json.loads(result.stdout)
    assert report["files"] == 400 == len(names(tmp_path)) == sum(report["kinds"].values())
    assert all(report["kinds"].values())
    assert report["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert report["seed"] == 2
    assert report["interrupted"] is False


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """Ten files at 50 a second take at least the nine pauses between them."""
    began = time.monotonic()
    assert run("--to", str(tmp_path), "--count", "10", "--rate", "50").exit_code == 0
    assert time.monotonic() - began >= 9 / 50


def test_many_files_are_written_fast(tmp_path: Path) -> None:
    """5,000 small files take far less than the half second per thousand that would be felt."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path) as folder:
        report = json.loads(run("--to", folder, "--count", "5000", "--json").stdout)
    assert report["seconds"] < 2.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mix", "postcard=1"], "postcard"),
        (["--mix", "payment"], "TYPE=WEIGHT"),
        (["--half", "1.5"], "half = 1.5"),
        (["--half", "0.6", "--broken", "0.6"], "add up"),
        (["--count", "0"], "count"),
        (["--rate", "-1"], "rate"),
        (["--source", "webio"], "not both"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Wrong options end with exit code 2, a message that names the mistake, and nothing written."""
    result = run("--to", str(tmp_path / "new"), *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "new").exists() or names(tmp_path / "new") == []


def config_for(tmp_path: Path, *sources: dict[str, object]) -> Path:
    tables = ["[[sources]]\n" + "".join(f"{key} = {toml(one)}\n" for key, one in table.items()) for table in sources]
    path = tmp_path / "config.toml"
    path.write_text("\n".join(tables))
    return path


def test_files_go_to_the_configured_server(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Without --to the only source of the configuration is written to, over SFTP, and no part is left."""
    config = config_for(tmp_path, sftp_server.source())
    result = run("--count", "40", "--seed", "3", "--half", "0.2", config=config)
    assert result.exit_code == 0, result.output
    assert run("--to", str(tmp_path / "local"), "--count", "40", "--seed", "3", "--half", "0.2").exit_code == 0
    assert sftp_server.names() == names(tmp_path / "local")
    for path in (tmp_path / "local").iterdir():
        assert (sftp_server.folder / path.name).read_bytes() == path.read_bytes()


def test_writing_the_same_again_replaces(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """The same seed a second time replaces the files on the server instead of failing."""
    config = config_for(tmp_path, sftp_server.source())
    for _ in range(2):
        assert run("--count", "5", "--seed", "3", config=config).exit_code == 0
    assert len(sftp_server.names()) == 5


def test_several_sources_need_a_choice(openssh: ServedFolder, tmp_path: Path) -> None:
    """With two sources --source is required, an unknown name is refused, and the right one is written to."""
    local: dict[str, object] = {"name": "local", "type": "directory", "folder": str(tmp_path / "in")}
    config = config_for(tmp_path, openssh.source(), local)
    for wrong in ([], ["--source", "nowhere"]):
        result = run("--count", "1", *wrong, config=config)
        assert result.exit_code == 2
        assert "webio, local" in " ".join(result.stderr.replace("│", " ").split())
    assert run("--count", "3", "--source", "local", config=config).exit_code == 0
    assert len(names(tmp_path / "in")) == 3
    assert openssh.names() == []


def test_ctrl_c_ends_with_what_was_written(tmp_path: Path) -> None:
    """An interrupt ends the command with 130, and the report counts the files that are in place."""
    code = (
        "import typer; from sftpd_processor.cli.simulate import simulate;"
        " app = typer.Typer(); app.command()(simulate); app()"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "--to",
        str(tmp_path),
        "--count",
        "100000",
        "--rate",
        "100",
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(names(tmp_path)) >= 5, 30, "the first files")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, err
    report = json.loads(out)
    assert report["interrupted"] is True
    assert report["files"] == len(names(tmp_path)) >= 5
