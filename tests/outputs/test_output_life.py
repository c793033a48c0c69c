"""What becomes of outputs: the folders of days, their names, their bytes, their end; on real folders."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from para_attn_server.core import output
from para_attn_server.core.errors import InsufficientStorage, NotAccepting, OutputGone
from para_attn_server.core.job import Output
from para_attn_server.outputs.folder import OutputFolder

JOB, OTHER = "0123456789abcdef" * 2, "f" * 32
NOW, DAY = 1795651199.9, "2026/11/25"
"""The last moment of a day in UTC."""
MIB = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    (tmp_path / "root").mkdir()
    return OutputFolder(tmp_path.resolve() / "root", allow_any=False, state_dir=tmp_path / "state")


def sealed(folder: OutputFolder, job_id: str = JOB, named: str | None = None, data: bytes = b"picture") -> Output:
    """An output that a rank has just written, still in the folder of its job."""
    path = folder.resolve(named, job_id, ".png", NOW)
    output.prepare(path, job_id)
    output.temporary_path(path, job_id).write_bytes(data)
    return output.seal(path, job_id, lambda: None)


def published(folder: OutputFolder, job_id: str = JOB, named: str | None = None) -> Output:
    made = sealed(folder, job_id, named)
    assert folder.publish(job_id, [made]) == []
    return made


def tree(folder: OutputFolder) -> list[str]:
    """All that is below the root."""
    return sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*"))


FOLDERS = ["2026", "2026/11", DAY]


def test_a_file_that_the_server_names_lies_in_the_folder_of_its_day_and_its_part_in_the_root(
    folder: OutputFolder,
) -> None:
    made = sealed(folder)
    assert tree(folder) == [f".{JOB}.part", f".{JOB}.part/{JOB}.png", *FOLDERS]
    assert folder.unfit(JOB, [made]) is None
    assert folder.publish(JOB, [made]) == []
    assert tree(folder) == [*FOLDERS, f"{DAY}/{JOB}.png"]
    assert folder.resolve(None, OTHER, ".png", NOW + 1).parent == folder.root / "2026" / "11" / "26", "in UTC"


def test_a_file_that_a_request_names_lies_where_it_says_also_in_the_folder_of_a_day(folder: OutputFolder) -> None:
    (folder.root / DAY).mkdir(parents=True)
    made = sealed(folder, named=f"{DAY}/mine.png")
    assert f"{DAY}/.{JOB}.part" in tree(folder)
    folder.publish(JOB, [made])
    assert tree(folder) == [*FOLDERS, f"{DAY}/mine.png"]
    assert folder.remove(JOB, made, math.inf) and tree(folder) == FOLDERS, "whose folder it is not"


def test_an_output_of_the_flat_layout_is_found_and_removed(folder: OutputFolder) -> None:
    path = folder.root / f"{JOB}.png"
    output.prepare(path, JOB)
    output.temporary_path(path, JOB).write_bytes(b"picture")
    made = output.seal(path, JOB, lambda: None)
    assert folder.publish(JOB, [made]) == [] and tree(folder) == [f"{JOB}.png"]
    with folder.open(JOB, made) as file:
        assert file.read() == b"picture"
    assert folder.remove(JOB, made, 0.0) and tree(folder) == []


def test_the_folder_of_a_day_that_somebody_has_removed_is_made_again(folder: OutputFolder) -> None:
    made = sealed(folder)
    shutil.rmtree(folder.root / "2026")
    assert folder.publish(JOB, [made]) == []
    assert tree(folder) == [*FOLDERS, f"{DAY}/{JOB}.png"]


def test_the_folder_of_a_day_goes_with_its_last_file(folder: OutputFolder) -> None:
    first, second = published(folder), published(folder, OTHER)
    assert folder.remove(JOB, first, 0.0)
    assert tree(folder) == [*FOLDERS, f"{DAY}/{OTHER}.png"]
    (folder.root / "2026" / "notes.txt").touch()
    assert folder.remove(OTHER, second, 0.0)
    assert tree(folder) == ["2026", "2026/notes.txt"]


def test_a_run_that_makes_no_output_leaves_no_folder(folder: OutputFolder) -> None:
    made = sealed(folder)
    folder.discard(JOB, made.path)
    assert tree(folder) == []


def test_several_outputs_get_their_names_though_one_rename_fails_at_first(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sealed(folder)
    second_path = Path(first.path).with_name(f"{JOB}-1.png")
    output.temporary_path(second_path, JOB).write_bytes(b"another")
    both = [first, output.seal(second_path, JOB, lambda: None)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", once(os.replace))
        with pytest.raises(OSError):
            folder.publish(JOB, both)
    for made, data in zip(both, (b"picture", b"another"), strict=True):
        with folder.open(JOB, made) as file:
            assert file.read() == data
    assert folder.publish(JOB, both) == []
    assert tree(folder) == [*FOLDERS, f"{DAY}/{JOB}-1.png", f"{DAY}/{JOB}.png"]
    assert folder.unfit(JOB, both) is not None


def once(function: Callable[..., None]) -> Callable[..., None]:
    """A function that the disk refuses from the second call on."""
    calls: list[object] = []

    def called(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        function(*arguments)

    return called


def test_a_file_that_is_exchanged_after_it_was_sealed_is_not_published(folder: OutputFolder) -> None:
    made = sealed(folder)
    part = output.temporary_path(made.path, JOB)
    part.unlink()
    part.symlink_to("/etc/passwd")
    assert "a symbolic link" in (folder.unfit(JOB, [made]) or "")
    part.unlink()
    part.write_bytes(b"another")
    assert "changed" in (folder.unfit(JOB, [made]) or "")
    folder.discard(JOB, made.path)
    assert "cannot be read" in (folder.unfit(JOB, [made]) or "")
    with pytest.raises(FileNotFoundError):
        folder.publish(JOB, [made])


def test_a_hard_link_to_what_is_there_already_leaves_no_second_name(folder: OutputFolder) -> None:
    path = folder.root / "a.png"
    path.write_bytes(b"picture")
    output.prepare(path, JOB)
    os.link(path, output.temporary_path(path, JOB))
    assert folder.publish(JOB, [output.seal(path, JOB, lambda: None)]) == [str(path)]
    assert tree(folder) == ["a.png"]


def test_an_output_is_opened_wherever_it_is_and_nothing_else_in_its_place(folder: OutputFolder) -> None:
    made = sealed(folder)
    folder.open(JOB, made).close()
    folder.publish(JOB, [made])
    folder.open(JOB, made).close()
    Path(made.path).write_bytes(b"nothing")
    with pytest.raises(OutputGone):
        folder.open(JOB, made)
    Path(made.path).unlink()
    with pytest.raises(OutputGone):
        folder.open(JOB, made)


def test_an_output_that_has_not_got_its_name_yet_is_removed_from_where_it_is(folder: OutputFolder) -> None:
    made = sealed(folder)
    assert folder.remove(JOB, made, 0.0) is True and tree(folder) == []
    named = sealed(folder, named="a.png")
    (folder.root / "a.png").write_bytes(b"a person's")
    assert folder.remove(JOB, named, math.inf) is True and tree(folder) == ["a.png"]
    (folder.root / "a.png").unlink()
    naming = sealed(folder, named="a.png")
    os.link(output.temporary_path(naming.path, JOB), naming.path)  # it gets its name at that moment
    assert folder.remove(JOB, naming, 0.0) is True and tree(folder) == []


def test_a_younger_file_of_the_same_name_is_not_removed_and_the_very_output_is(folder: OutputFolder) -> None:
    old = published(folder, named="a.png")
    young = sealed(folder, OTHER, "a.png", b"younger")
    assert folder.publish(OTHER, [young]) == [young.path]
    before = Path(young.path).stat().st_mtime
    assert folder.remove(JOB, old, before) is False
    assert folder.remove(OTHER, young, before) is True


# --- room ---


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    found = os.statvfs_result((4096, 4096, 10**9, size // 4096, size // 4096, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def test_where_less_than_min_free_is_free_no_request_gets_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OutputFolder(tmp_path, allow_any=False, state_dir=tmp_path / "state", min_free=100 * MIB)
    free(monkeypatch, 100 * MIB - 4096)
    for requested in (None, "a.png"):
        with pytest.raises(InsufficientStorage) as caught:
            folder.resolve(requested, JOB, ".png", NOW)
        assert (caught.value.free, caught.value.wanted) == (100 * MIB - 4096, 100 * MIB)
    reason = folder.full()
    assert reason is not None and "--min-free" in reason and str(tmp_path) not in reason
    free(monkeypatch, 90 * MIB)
    assert folder.full() == reason, "it changes with the disk's state, not with every byte"
    free(monkeypatch, 100 * MIB)
    assert folder.full() is None and folder.resolve("a.png", JOB, ".png", NOW) == tmp_path / "a.png"


def test_a_disk_without_room_for_any_picture_is_full_whatever_min_free_is(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, output.LEAST_FREE - 4096)
    with pytest.raises(InsufficientStorage):
        folder.resolve(None, JOB, ".png", NOW)


def test_a_disk_that_cannot_be_asked_takes_no_request(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", refuse)
    with pytest.raises(NotAccepting, match="Input/output error"):
        folder.resolve(None, JOB, ".png", NOW)
    assert "Input/output error" in (folder.full() or "")
