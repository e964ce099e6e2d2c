"""The scratch folder on real servers: files appear in it as a whole, all that is in it is found, and all of it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sftpd_processor.certify.feed import Feed, SentEvent, SentFile
from sftpd_processor.certify.place import Found, LocalPlace, Place, SftpPlace, make_place
from sftpd_processor.config.kinds import Place as ConfigPlace
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import SourceRefused
from sftpd_processor.testing.servers import OpenSshServer
from tests.support import ServedFolder, served_folder

LARGE = SentFile("large.json", b"x" * 100_000, (SentEvent(1, "payment", 0),))
EMPTY = SentFile("empty.json", b"", ())


def made(served: ServedFolder) -> Place:
    settings = Settings.model_validate({"sources": [served.source()]}, context=ConfigPlace(served.folder, {}))
    return make_place(settings.sources[0])


@pytest.fixture(params=["openssh", "asyncssh_server", "local"])
def place(request: pytest.FixtureRequest, openssh: ServedFolder) -> Iterator[tuple[Place, ServedFolder]]:
    """A scratch folder on each server, and on this machine."""
    if request.param == "local":
        source = {"name": "local", "type": "directory", "folder": str(openssh.folder)}
        settings = Settings.model_validate({"sources": [source]})
        yield LocalPlace(settings.sources[0]), openssh  # type: ignore[arg-type]
    else:
        served = request.getfixturevalue(request.param)
        yield made(served), served


def test_files_are_put_found_read_and_removed(place: tuple[Place, ServedFolder]) -> None:
    """Many files, a large and an empty one arrive with their bytes, are listed by room, and go with the folder."""
    scratch, served = place
    files = [*Feed(1, 2, 600).take(200), LARGE, EMPTY]
    scratch.put(files)
    assert set(scratch.found()) == {Found("incoming", file.name, len(file.data)) for file in files}
    assert all(scratch.read("incoming", file.name) == file.data for file in (*files[:5], LARGE, EMPTY))
    (name,) = served.names()
    assert name.startswith(".sftpd-processor-certify-")
    for room, inside in (("incoming/processed", "moved.json"), ("upload", "stray")):
        (served.folder / name / room).mkdir(exist_ok=True)
        (served.folder / name / room / inside).write_bytes(b"1")
    strangers = {Found("incoming/processed", "moved.json", 1), Found("upload", "stray", 1)}
    assert strangers <= set(scratch.found())
    assert scratch.remove() is None
    assert served.names() == []


def test_a_file_that_is_refused_is_told(sftp_server: ServedFolder) -> None:
    """Where the server does not take a file, its words are told; the scratch folder can still be removed."""
    scratch = made(sftp_server)
    try:
        with pytest.raises(SourceRefused, match="did not take a file"):
            scratch.put([SentFile("no/such/folder.json", b"1", ())])
    finally:
        assert scratch.remove() is None


def test_what_cannot_be_removed_is_named(openssh: ServedFolder) -> None:
    """While the server is down the folder is named; afterwards it can be removed over a new connection."""
    scratch = made(openssh)
    scratch.put([LARGE])
    openssh.server.stop()
    told = scratch.remove()
    assert told is not None
    assert scratch.folder in told
    openssh.server.start()
    assert scratch.remove() is None
    assert openssh.names() == []


def test_an_account_that_may_not_write_is_told(openssh_server: OpenSshServer) -> None:
    """Where no folder may be made, the error names the right that is missing, and nothing is left open."""
    with (
        OpenSshServer(openssh_server.root, read_only=True) as server,
        served_folder(server) as served,
        pytest.raises(SourceRefused, match="must be allowed to make folders"),
    ):
        made(served)


def test_the_host_key_is_the_one_that_was_verified(openssh: ServedFolder) -> None:
    """The key that the child is to trust is the server's, as pinned in the settings."""
    scratch = made(openssh)
    assert isinstance(scratch, SftpPlace)
    assert str(scratch.host_key.fingerprint) == openssh.server.host_key_fingerprint
    assert scratch.remove() is None
