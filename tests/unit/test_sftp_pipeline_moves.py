"""Moving and removing over the wire: names that are taken are found out, and refusals are told with their reason."""

from __future__ import annotations

import pytest

from sftpd_processor.sources.base import Miss, Move, Moved, Removed
from sftpd_processor.sources.sftp_wire import SftpStatus
from tests.unit.scripted_sftp import (
    FAILURE,
    FOLDER,
    LSTAT,
    MKDIR,
    NO_SUCH_FILE,
    OK,
    PERMISSION_DENIED,
    REMOVE,
    RENAME,
    STAT,
    ScriptedSftp,
    entries,
    packet,
    status,
    taken,
    usual,
)

OUT = "/out"


def moved(server: ScriptedSftp, *names: str, in_flight: int = 64) -> dict[str, Moved | Miss]:
    """What becomes of the wish to move these files."""
    moves = [Move(entry, "abcd1234") for entry in entries(dict.fromkeys(names, b""))]
    results = server.pipeline(in_flight).move(FOLDER, OUT, moves)
    assert len(results) == len(names)
    return {entry.name: result for entry, result in results}


def holding(server: ScriptedSftp, *names: str) -> ScriptedSftp:
    """The server, with files of these names in the target folder."""
    server.files.update({f"{OUT}/{name}".encode(): b"old" for name in names})
    return server


@pytest.mark.parametrize("in_flight", [1, 64])
def test_files_are_moved_under_their_names(in_flight: int) -> None:
    """Where the names are free, each file keeps its own."""
    files = {f"{n}.json": b"%d" % n for n in range(300)}
    server = ScriptedSftp(files)
    assert moved(server, *files, in_flight=in_flight) == {name: Moved(name) for name in files}
    assert server.files == {f"{OUT}/{name}".encode(): data for name, data in files.items()}


def test_a_taken_name_gets_the_suffix_then_a_number() -> None:
    """The next names tried are name.<suffix>.ext, then name.<suffix>-2.ext, and so on."""
    server = holding(ScriptedSftp({"a.json": b"new"}), "a.json", "a.abcd1234.json")
    assert moved(server, "a.json") == {"a.json": Moved("a.abcd1234-2.json")}
    assert server.files == {
        b"/out/a.json": b"old",
        b"/out/a.abcd1234.json": b"old",
        b"/out/a.abcd1234-2.json": b"new",
    }


def test_a_name_taken_between_look_and_rename_gets_the_next_one() -> None:
    """A RENAME that fails because the name was taken meanwhile is tried under the next name."""
    server = ScriptedSftp({"a.json": b"new"})

    def somebody_was_faster(number: int, body: bytes) -> bytes | None:
        if server.count(RENAME) > 1:
            return None
        holding(server, "a.json")
        return status(number, FAILURE)

    server.rules[RENAME] = somebody_was_faster
    assert moved(server, "a.json") == {"a.json": Moved("a.abcd1234.json")}
    assert server.files[b"/out/a.json"] == b"old"


def test_a_server_whose_rename_overwrites_does_not_get_to_overwrite() -> None:
    """Each RENAME is preceded by a look at its target, since some servers replace what is there."""
    server = holding(ScriptedSftp({"a.json": b"new"}), "a.json")

    def replacing(number: int, body: bytes) -> bytes:
        old, at = taken(body)
        server.files[taken(body, at)[0]] = server.files.pop(old)
        return status(number, OK)

    server.rules[RENAME] = replacing
    moved(server, "a.json")
    assert server.files == {b"/out/a.json": b"old", b"/out/a.abcd1234.json": b"new"}


def test_two_files_of_one_batch_that_want_one_name_do_not_overwrite_each_other() -> None:
    """Where a file's second name is the first name of another one, both are kept, also if RENAME overwrites."""
    server = holding(ScriptedSftp({"a.json": b"one", "a.abcd1234.json": b"two"}), "a.json")

    def replacing(number: int, body: bytes) -> bytes:
        old, at = taken(body)
        server.files[taken(body, at)[0]] = server.files.pop(old)
        return status(number, OK)

    server.rules[RENAME] = replacing
    moved(server, "a.json", "a.abcd1234.json")
    assert sorted(server.files.values()) == [b"old", b"one", b"two"]


def test_a_rename_that_fails_with_a_free_target_is_refused() -> None:
    """When the name is free and RENAME fails all the same, the server will not: its own words are the reason."""
    server = ScriptedSftp({"a.json": b"", "b.json": b""})

    def unwilling(number: int, body: bytes) -> bytes | None:
        return status(number, FAILURE, b"cross-device link") if b"a.json" in taken(body)[0] else None

    server.rules[RENAME] = unwilling
    assert moved(server, "a.json", "b.json") == {
        "a.json": Miss("refused", "the server said: cross-device link"),
        "b.json": Moved("b.json"),
    }


def test_a_look_that_is_refused_moves_nothing() -> None:
    """When it cannot be known whether the name is free, no RENAME is made."""
    server = ScriptedSftp({"a.json": b""})
    server.rules[LSTAT] = lambda number, _: status(number, PERMISSION_DENIED, b"no")
    assert moved(server, "a.json") == {"a.json": Miss("refused", "the server said: no")}
    assert server.count(RENAME) == 0


def test_a_server_where_every_name_is_taken_is_given_up_in_the_end() -> None:
    """The search for a free name ends, and the file stays where it is."""
    server = ScriptedSftp({"a.json": b""})
    server.rules[LSTAT] = lambda number, _: packet(105, number, usual(1))
    result = moved(server, "a.json")["a.json"]
    assert isinstance(result, Miss)
    assert result.kind == "refused"
    assert "taken" in result.reason
    assert b"/in/a.json" in server.files


def test_a_file_that_is_gone_has_vanished_and_the_others_are_moved() -> None:
    """A file that somebody else took before its move is a miss of its own."""
    server = ScriptedSftp({"a.json": b""})
    assert moved(server, "a.json", "gone.json") == {
        "a.json": Moved("a.json"),
        "gone.json": Miss("vanished", "it was gone when its turn came"),
    }


def test_a_refused_remove_is_told_and_the_others_are_removed() -> None:
    """Removing tells gone, refused and removed files apart."""
    files = {"a.json": b"", "b.json": b"", "locked.json": b""}
    server = ScriptedSftp(files)

    def locked(number: int, body: bytes) -> bytes | None:
        return status(number, PERMISSION_DENIED, b"no") if b"locked" in taken(body)[0] else None

    server.rules[REMOVE] = locked
    results = server.pipeline().remove(FOLDER, entries({**files, "gone.json": b""}))
    assert {entry.name: result for entry, result in results} == {
        "a.json": Removed(),
        "b.json": Removed(),
        "locked.json": Miss("refused", "the server said: no"),
        "gone.json": Miss("vanished", "it was gone when its turn came"),
    }


def test_what_the_server_says_is_made_printable_and_short() -> None:
    """Control characters, bad UTF-8 and long speeches of a server do not reach a log or a terminal as they are."""
    server = ScriptedSftp({"a.json": b""})
    server.rules[REMOVE] = lambda number, _: status(
        number, FAILURE, b"\x1b[2J\r\nfake: ok\x00\xff\xe2\x80\xae" + b"x" * 9000
    )
    ((_, result),) = server.pipeline().remove(FOLDER, entries({"a.json": b""}))
    assert isinstance(result, Miss)
    assert result.reason.isprintable()
    assert len(result.reason) < 300


def test_a_status_without_words_is_understood() -> None:
    """A server may leave out the text and language of a status, as old ones do."""
    server = ScriptedSftp({"a.json": b""})
    server.rules[REMOVE] = lambda number, _: packet(101, number, b"\x00\x00\x00\x04")
    ((_, result),) = server.pipeline().remove(FOLDER, entries({"a.json": b""}))
    assert result == Miss("refused", "the server said: no reason given")


def test_a_folder_that_is_there_is_not_made() -> None:
    """`make_folder` looks first, since making a folder that exists fails with no certain code."""
    server = ScriptedSftp()
    server.rules[STAT] = lambda number, _: packet(105, number, usual(0, 0o040755))
    server.pipeline().make_folder(OUT)
    assert server.count(MKDIR) == 0


def test_a_folder_that_is_not_there_is_made() -> None:
    """An absent folder is made once."""
    server = ScriptedSftp()
    server.pipeline().make_folder(OUT)
    assert server.count(MKDIR) == 1


@pytest.mark.parametrize(("kind", "code"), [(STAT, PERMISSION_DENIED), (MKDIR, PERMISSION_DENIED), (MKDIR, FAILURE)])
def test_a_folder_that_cannot_be_made_says_why(kind: int, code: int) -> None:
    """A refused folder raises the server's code and words."""
    server = ScriptedSftp()
    server.rules[kind] = lambda number, _: status(number, code, b"because")
    with pytest.raises(SftpStatus, match=r"^because$") as caught:
        server.pipeline().make_folder(OUT)
    assert caught.value.code == code != NO_SUCH_FILE
