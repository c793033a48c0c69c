"""Where a predictor's folders are on the search path, and under what name its file is imported."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from para_attn_server.core.process import python_command
from para_attn_server.rank.loader import load_class
from para_attn_server.rank.search_path import add_folders, module_name

PREDICTOR = """
import queue, helper_of_mine
class Plain:
    stdlib_queue, helper = queue.Queue, helper_of_mine.WORD
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a predictor, a module that it imports, and a file with a name of the standard library."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = sys.modules.copy()
    (tmp_path / "queue.py").write_text("raise AssertionError('shadowed')")
    (tmp_path / "helper_of_mine.py").write_text("WORD = 'mine'")
    (tmp_path / "plain.py").write_text(PREDICTOR)
    yield tmp_path
    sys.modules.clear()
    sys.modules.update(before)


def test_folders_come_behind_the_standard_library_and_before_installed_packages(folder: Path) -> None:
    before = sys.path[:]
    add_folders([str(folder), "/b", str(folder), before[-1]])
    at = sys.path.index(str(folder))
    assert sys.path[:at] + sys.path[at + 2 :] == before
    assert sys.path[at + 1] == "/b"
    standard = [index for index, entry in enumerate(before) if entry in (str(Path(queue.__file__).parent), *_dynamic())]
    assert at == max(standard) + 1
    assert at < next(index for index, entry in enumerate(sys.path) if entry.endswith("site-packages"))


def _dynamic() -> list[str]:
    return [entry for entry in sys.path if entry.endswith("lib-dynload")]


def test_a_search_path_without_a_standard_library_is_appended_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a.zip"])
    add_folders(["/b"])
    assert sys.path == ["/a.zip", "/b"]


@pytest.mark.parametrize("spelled", ["{}/plain.py:Plain", "plain:Plain"])
def test_a_predictor_finds_what_lies_beside_it_and_the_standard_library(folder: Path, spelled: str) -> None:
    add_folders([str(folder)])
    sys.modules.pop("queue")
    found = load_class(spelled.format(folder))
    assert (found.stdlib_queue.__module__, found.helper) == ("queue", "mine")
    assert sys.modules["queue"].__file__ == queue.__file__


@pytest.mark.parametrize("name", ["queue", "types", "torch", "counting", "with space", "line\nbreak", "odd\udcff"])
def test_a_predictor_may_have_the_name_of_another_module(folder: Path, name: str) -> None:
    import counting  # noqa: F401 - so that another module has that name
    import torch

    (folder / f"{name}.py").write_text(PREDICTOR + "class Named(Plain): pass")
    found = load_class(f"{folder / name}.py:Named")
    assert found.helper == "mine"
    assert sys.modules[found.__module__].Named is found
    assert sys.modules["torch"] is torch
    assert module_name(folder / f"{name}.py") == found.__module__, "the same, each time"


def test_our_processes_have_the_working_folder_nowhere_on_their_search_path(tmp_path: Path) -> None:
    (tmp_path / "probe_of_path.py").write_text("")
    done = subprocess.run(python_command("probe_of_path"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "No module named probe_of_path" in done.stderr
