"""What --reload looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from para_attn_server.controller.reloading import SourceWatch, source_folder
from para_attn_server.core.errors import UsageError
from para_attn_server.core.wire.launch import ModelSpec


def test_a_change_is_seen_once_and_only_when_it_rests(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name in ("mine.py", "package/inner.py", "notes.txt"):
        (tmp_path / name).write_text("")
    watch = SourceWatch(tmp_path)
    assert watch.changed() == []
    (tmp_path / "mine.py").write_text("a")
    assert watch.changed() == [], "it may be half a file"
    (tmp_path / "mine.py").write_text("ab")
    assert watch.changed() == []
    assert (watch.changed(), watch.changed()) == (["mine.py"], [])
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "package" / "inner.py").unlink()
    (tmp_path / "new.py").touch()
    assert [watch.changed(), watch.changed()] == [[], ["inner.py", "new.py"]]


def test_hidden_folders_are_no_source(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    watch = SourceWatch(tmp_path)
    (tmp_path / ".venv" / "x.py").touch()
    assert [watch.changed(), watch.changed()] == [[], []]


def test_the_folder_is_that_of_the_predictors_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("package/mine.py:Mine", "package.mine:Mine", f"{tmp_path}/package/mine.py:Mine"):
        assert source_folder(ModelSpec(name)) == tmp_path / "package"


@pytest.mark.parametrize("model", [ModelSpec("demo"), ModelSpec("json:JSONDecoder"), ModelSpec("a.py:A", pickled=b"x")])
def test_a_predictor_without_a_file_is_refused(model: ModelSpec) -> None:
    with pytest.raises(UsageError, match="reload: it needs a predictor in a file"):
        source_folder(model)
