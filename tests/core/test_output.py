"""What becomes of the file that a predictor writes, from its temporary path to its name."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from para_attn_server.core import output
from para_attn_server.core.output import OutputUnfit

JOB = "0123456789abcdef" * 2


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """The path of an output that is being written."""
    output.prepare(tmp_path / "a.png", JOB)
    return tmp_path / "a.png"


def written(final: Path, data: bytes = b"picture") -> Path:
    temporary = output.temporary_path(final, JOB)
    temporary.write_bytes(data)
    return temporary


def test_an_output_is_sealed_where_it_is(final: Path) -> None:
    data = os.urandom(2 * output._BLOCK + 1)
    written(final, data)
    blocks: list[None] = []
    sealed = output.seal(final, JOB, lambda: blocks.append(None))
    assert (sealed.path, sealed.media_type, sealed.size) == (str(final), "image/png", len(data))
    assert sealed.sha256 == hashlib.sha256(data).hexdigest()
    assert len(blocks) == 3, "reading a large file is a sign of life"
    assert not final.exists() and names_in(final.parent) == [f".{JOB}.part"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put_directory(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # its address has 107 bytes
        made.bind(path.name)


@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (put_directory, "a directory, not a file"),
        (Path.touch, "an empty file"),
        (lambda path: path.symlink_to("/etc/passwd"), "a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
        (os.mkfifo, "a FIFO"),
        (put_socket, "a socket"),
    ],
)
def test_nothing_but_a_file_is_published_and_nothing_of_it_stays(
    final: Path, monkeypatch: pytest.MonkeyPatch, put: object, kind: str
) -> None:
    monkeypatch.chdir(final.parent)
    put(output.temporary_path(final, JOB))  # type: ignore[operator]
    with pytest.raises(OutputUnfit, match=kind):
        output.seal(final, JOB, lambda: None)
    output.sweep(final, JOB)
    assert not names_in(final.parent)


def test_what_else_was_written_is_named_and_swept(final: Path) -> None:
    for name in ("a-1.png", "a-0.png"):
        (output.temporary_path(final, JOB).with_name(name)).touch()
    assert output.beside(final, JOB) == ["a-0.png", "a-1.png"]
    with pytest.raises(FileNotFoundError):
        output.seal(final, JOB, lambda: None)
    output.sweep(final, JOB)
    assert not names_in(final.parent)


def test_what_other_ranks_write_is_no_output_and_is_swept(final: Path) -> None:
    written(final)
    for rank in (1, 2):
        output.prepare_rank(final, JOB, rank)
    assert not output.written_by_others(final, JOB)
    output.temporary_path(final, JOB, 2).write_bytes(b"the same picture, later")
    assert output.written_by_others(final, JOB) and not output.beside(final, JOB)
    assert output.seal(final, JOB, lambda: None).size == len(b"picture")
    output.sweep(final, JOB)
    assert not names_in(final.parent)
    output.prepare_rank(final, JOB, 1)  # of a job whose folder is gone: its own write will say so
    assert not names_in(final.parent)


def test_a_job_begins_with_an_empty_folder_whatever_was_left_in_its_place(final: Path) -> None:
    written(final)
    output.prepare(final, JOB)
    assert not names_in(output.part_folder(final, JOB))
    output.sweep(final, JOB)
    output.part_folder(final, JOB).symlink_to("/etc")
    output.prepare(final, JOB)
    assert not output.part_folder(final, JOB).is_symlink() and Path("/etc").exists()


def test_no_job_is_begun_where_no_output_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        output.prepare(tmp_path / "gone" / "a.png", JOB)
    full = os.statvfs_result((4096, 4096, 100, 2, 2, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(OSError) as caught:
        output.prepare(tmp_path / "a.png", JOB)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        (f"/o/2026/11/26/{JOB}.png", f"/o/.{JOB}.part"),
        (f"/2026/11/26/{JOB}.png", f"/.{JOB}.part"),
        ("/o/2026/11/26/mine.png", f"/o/2026/11/26/.{JOB}.part"),
        ("/mine.png", f"/.{JOB}.part"),
    ],
)
def test_a_jobs_folder_is_in_the_root_where_the_server_named_the_file(path: str, folder: str) -> None:
    assert output.part_folder(path, JOB) == Path(folder)
    assert output.temporary_path(path, JOB, 1) == Path(folder, ".rank-1", Path(path).name)


def test_the_folder_of_a_day_is_there_for_a_job_though_another_one_removes_it(tmp_path: Path) -> None:
    """As where one fails while the next begins, each in a thread or process of its own."""
    day, over = tmp_path / "2026" / "11" / "26", threading.Event()
    ours, theirs = "a" * 32, "b" * 32

    def remove() -> None:
        while not over.is_set():
            output.drop_day(day / f"{theirs}.png", theirs)

    removing = threading.Thread(target=remove)
    removing.start()
    try:
        for _ in range(300):
            output.prepare(day / f"{ours}.png", ours)
    finally:
        over.set()
        removing.join()
