"""The files that predict names besides output_path."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from para_attn_server.core import output
from para_attn_server.core.output import OutputUnfit
from para_attn_server.core.predictor import Predictor
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.rank.outputs import MOST, RunOutputs

JOB = "a" * 32


def begun(folder: Path, name: str = "star.png") -> RunOutputs:
    """A run of rank zero that has written its first output, which is no picture."""
    final = folder / name
    output.prepare(final, JOB)
    output.temporary_path(final, JOB).write_bytes(b"no picture")
    return RunOutputs(str(final), JOB, 0)


def folder(root: Path) -> OutputFolder:
    """What publishes them."""
    return OutputFolder(root, allow_any=False, state_dir=root / "state")


def test_each_file_that_is_named_becomes_an_output_beside_the_first(tmp_path: Path) -> None:
    files = begun(tmp_path)
    mask, notes = files.another(None, "mask"), files.another(".JSON", "notes")
    Image.new("L", (64, 48)).save(mask)
    notes.write_text("{}")
    sealed = files.seal(lambda: None)
    assert [(one.role, one.width, one.height) for one in sealed] == [
        ("output", None, None),
        ("mask", 64, 48),
        ("notes", None, None),
    ]
    assert [Path(one.path) for one in sealed] == [tmp_path / name for name in ("star.png", "star-1.png", "star-2.JSON")]
    assert not list(tmp_path.glob("star*")), "they have their names once the job's end is on record"
    assert folder(tmp_path).publish(JOB, sealed) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["star-1.png", "star-2.JSON", "star.png"]


def test_publishing_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    files = begun(tmp_path)
    files.another(None, "mask").write_bytes(b"x")
    first, second = files.seal(lambda: None)
    output.temporary_path(first.path, JOB).rename(first.path)
    assert folder(tmp_path).publish(JOB, [first, second]) == []
    with pytest.raises(FileNotFoundError):
        Path(second.path).unlink()
        folder(tmp_path).publish(JOB, [first, second])


def test_a_file_that_is_named_must_be_there_and_be_fit(tmp_path: Path) -> None:
    files = begun(tmp_path)
    named = files.another(None, "mask")
    with pytest.raises(FileNotFoundError, match=r"star-1\.png"):
        files.seal(lambda: None)
    named.touch()
    with pytest.raises(OutputUnfit, match=r"an empty file named star-1\.png"):
        files.seal(lambda: None)


def test_other_ranks_write_elsewhere(tmp_path: Path) -> None:
    ours, theirs = begun(tmp_path), RunOutputs(str(tmp_path / "star.png"), JOB, 1)
    assert ours.another(None, "mask").parent != theirs.another(None, "mask").parent
    assert ours.names == theirs.names


@pytest.mark.parametrize("suffix", [".exe", "png", "", ".png/../../x.png"])
def test_a_suffix_that_is_not_known_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="takes a suffix that is known"):
        begun(tmp_path).another(suffix, "mask")


@pytest.mark.parametrize("role", ["", "Mask", "a b", "x" * 33, "\u00e4"])
def test_a_role_is_a_short_word(tmp_path: Path, role: str) -> None:
    with pytest.raises(ValueError, match="takes a role"):
        begun(tmp_path).another(None, role)


def test_a_job_has_so_many_outputs_at_the_most(tmp_path: Path) -> None:
    files = begun(tmp_path)
    assert len({files.another(None, "mask") for _ in range(MOST - 1)}) == MOST - 1
    with pytest.raises(ValueError, match=f"up to {MOST} outputs"):
        files.another(None, "mask")


def test_outside_a_server_the_files_are_in_the_working_folder() -> None:
    predictor = Predictor()
    names = [predictor.output_path(), predictor.output_path(".json", role="notes")]
    assert names == [Path("output-1.png"), Path("output-2.json")]
