"""Where the client saves an output: what it may replace, what it writes into, and what it leaves alone."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from para_attn_server import Client
from para_attn_server.client.files import save, suffix_of


def download(file: Path) -> str:
    file.write_bytes(b"new")
    return "ab.png"


def fails(file: Path) -> str:
    file.write_bytes(b"half")
    raise OSError("broken")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_missing_folder_is_found_before_anything_is_drawn(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        client.generate(tmp_path / "nowhere" / "a.png", prompt="x")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "x").chmod(mode)
    assert save(tmp_path / "x", download) == tmp_path / "x"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
    assert names(tmp_path) == ["x"]


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save(tmp_path / "x", download)
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("is_there", [True, False])
def test_a_symlink_stays_and_its_target_is_written(tmp_path: Path, is_there: bool) -> None:
    target, link = tmp_path / "folder" / "real", tmp_path / "link"
    target.parent.mkdir()
    if is_there:
        target.write_text("old")
    link.symlink_to("folder/real")
    assert save(link, download) == link
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert names(tmp_path) == ["folder", "link"] and names(target.parent) == ["real"]


def test_a_circle_of_symlinks_stays(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(OSError, match="symbolic links"):
        save(tmp_path / "x", download)
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("through", ["pipe", "link"])
def test_what_is_not_a_regular_file_is_written_to_and_stays(tmp_path: Path, through: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    save(tmp_path / through, download)
    reader.join(10)
    assert read == [b"new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["link", "pipe"]


def test_a_pipe_behind_a_descriptor_is_written_to() -> None:
    reader, writer = os.pipe()
    save(f"/proc/self/fd/{writer}", download)
    os.close(writer)
    with os.fdopen(reader, "rb") as end:
        assert end.read() == b"new"


def test_a_removed_file_behind_a_descriptor_is_written_to(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b") as file:
        (tmp_path / "x").unlink()
        save(f"/proc/self/fd/{file.fileno()}", download)
        assert file.read() == b"new"
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_gets_a_file_of_the_jobs_name(tmp_path: Path, ending: str) -> None:
    assert save(f"{tmp_path}{ending}", download) == tmp_path / "ab.png"
    assert names(tmp_path) == ["ab.png"]


def test_a_path_with_a_slash_at_its_end_becomes_a_folder(tmp_path: Path) -> None:
    assert save(f"{tmp_path}/new/", download) == tmp_path / "new" / "ab.png"
    assert names(tmp_path / "new") == ["ab.png"]


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(FileExistsError):
        save(f"{tmp_path}/x/", download)
    assert (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("path", ["old", "absent", "new/", ""])
def test_a_download_that_fails_leaves_all_as_it_was(tmp_path: Path, path: str) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(OSError, match="broken"):
        save(f"{tmp_path}/{path}", fails)
    assert names(tmp_path) == ["old"] and (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize(
    ("disposition", "suffix"),
    [
        ("inline; filename=ab.png", ".png"),
        ('inline; filename="a b.tar.gz"', ".gz"),
        ("inline; filename=output.txt; filename*=UTF-8''%E6.txt", ".txt"),
        ("inline; filename=../../x", ""),
        ("attachment", ""),
    ],
)
def test_the_suffix_comes_from_the_servers_name(disposition: str, suffix: str) -> None:
    assert suffix_of(disposition) == suffix
