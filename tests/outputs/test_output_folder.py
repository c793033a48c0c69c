"""Where outputs may go: whatever a request asks for, the file is inside the root, or the request is refused."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from para_attn_server.core.errors import InvalidInput, NotAccepting
from para_attn_server.core.job import Output
from para_attn_server.core.output import prepare, seal, sweep, temporary_path
from para_attn_server.outputs.folder import OutputFolder

JOB = "0123456789abcdef" * 2
NOW, DAY = 1795651199.9, "2026/11/25"
"""The last moment of a day in UTC."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root with some of everything in it, and something outside that must stay as it is."""
    tmp_path = tmp_path.resolve()
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub" / ".hidden").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_text("secret")
    (root / "there.png").write_text("old")
    (root / "inner").symlink_to("sub")
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "dangling.png").symlink_to(outside / "nothing.png")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo.png")
    return tmp_path


@pytest.fixture
def folder(place: Path) -> OutputFolder:
    return OutputFolder(place / "root", allow_any=False, state_dir=place / "state")


def refusal(folder: OutputFolder, requested: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        folder.resolve(requested, JOB, ".png", NOW)
    (field,) = caught.value.fields
    assert field.pointer == "#/output_path"
    assert str(folder.root.parent) not in field.detail
    return field.detail


def test_the_server_names_the_file_when_none_is_asked_for(folder: OutputFolder) -> None:
    assert folder.resolve(None, JOB, ".mp4", NOW) == folder.root / DAY / f"{JOB}.mp4"


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("a.png", "a.png"),
        ("./sub//a.png", "sub/a.png"),
        ("inner/a.png", "sub/a.png"),
        ("sub/.hidden/a.png", "sub/.hidden/a.png"),
        ("there.png", "there.png"),
        ("ein Bild ★ ~$HOME.png", "ein Bild ★ ~$HOME.png"),
        ("loud.PNG", "loud.PNG"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_a_relative_path_is_below_the_root(folder: OutputFolder, requested: str, expected: str) -> None:
    assert folder.resolve(requested, JOB, ".png", NOW) == folder.root / expected


@pytest.mark.parametrize(
    ("requested", "says"),
    [
        ("", "non-empty"),
        ("a\0.png", "control characters"),
        ("a\n.png", "control characters"),
        ("a\ud800.png", "surrogates"),
        ("/etc/passwd", "absolute paths are refused"),
        ("//etc/passwd", "absolute paths are refused"),
        ("../a.png", "`..` is refused"),
        ("sub/../a.png", "`..` is refused"),
        ("..", "`..` is refused"),
        (".", "something other than a file"),
        ("sub/", "not a directory"),
        ("out/a.png", "outside the output root"),
        ("up/a.png", "outside the output root"),
        ("up/root/../a.png", "`..` is refused"),
        ("nowhere/a.png", "directory does not exist"),
        ("there.png/a.png", "directory does not exist"),
        ("loop/a.png", "directory does not exist"),
        ("sub", "something other than a file"),
        ("link.png", "something other than a file"),
        ("dangling.png", "something other than a file"),
        ("loop", "something other than a file"),
        ("fifo.png", "something other than a file"),
        (".hidden.png", "begin with a dot"),
        (f".{JOB}.part.png", "begin with a dot"),
        ("a" * 252 + ".png", "too long"),
        ("a." + "b" * 254, "too long"),
        ("no-suffix", "must have a suffix, which says the format: one of .png .apng"),
        ("sub/no-suffix", ".jpg"),
        ("a.", "must have a suffix"),
        ("a.doc", "not .doc: one of .png"),
        ("x" * 300 + "/a.png", "directory does not exist"),
        ("sub/" * 2000 + "a.png", "too long"),
    ],
)
def test_a_bad_path_is_refused_with_what_is_right(folder: OutputFolder, requested: str, says: str) -> None:
    assert says in refusal(folder, requested)


def test_an_absolute_path_inside_the_root_is_refused_too(folder: OutputFolder) -> None:
    assert "absolute paths are refused" in refusal(folder, str(folder.root / "a.png"))


def test_the_longest_name_allowed_can_be_written_under_its_temporary_name(folder: OutputFolder) -> None:
    final = folder.resolve("ü" * 125 + ".jpeg", JOB, ".png", NOW)
    prepare(final, JOB)
    temporary_path(final, JOB).write_text("picture")
    folder.publish(JOB, [seal(final, JOB, lambda: None)])
    assert final.exists()


def test_the_predictors_own_suffix_is_always_allowed(folder: OutputFolder) -> None:
    assert folder.resolve("a.DAT", JOB, ".dat", NOW) == folder.root / "a.DAT"
    assert folder.resolve("a", JOB, "", NOW) == folder.root / "a"
    with pytest.raises(InvalidInput, match=r"one of \.dat "):
        folder.resolve("a", JOB, ".dat", NOW)


def test_a_root_behind_a_link_is_followed_once(place: Path) -> None:
    (place / "alias").symlink_to("root")
    folder = OutputFolder(place / "alias", allow_any=False, state_dir=place / "state")
    assert folder.resolve("sub/a.png", JOB, ".png", NOW) == place / "root" / "sub" / "a.png"
    assert folder.resolve(None, JOB, ".png", NOW) == place / "root" / DAY / f"{JOB}.png"


def test_allow_any_takes_absolute_and_climbing_paths(place: Path) -> None:
    folder = OutputFolder(place / "root", allow_any=True, state_dir=place / "state")
    assert folder.resolve(str(place / "outside" / "a.png"), JOB, ".png", NOW) == place / "outside" / "a.png"
    assert folder.resolve("../outside/a.png", JOB, ".png", NOW) == place / "outside" / "a.png"
    assert folder.resolve("out/a.png", JOB, ".png", NOW) == place / "outside" / "a.png"
    assert folder.resolve("a.png", JOB, ".png", NOW) == place / "root" / "a.png"


@pytest.mark.parametrize("requested", ["nowhere/a.png", "/dev/null", "link.png", "sub", "..", "a\0", ".a.png", "/"])
def test_allow_any_still_refuses_what_cannot_be_written(place: Path, requested: str) -> None:
    refusal(OutputFolder(place / "root", allow_any=True, state_dir=place / "state"), requested)


PARTS = st.one_of(
    st.sampled_from(["..", ".", "", "/", "sub", "inner", "out", "up", "root", "outside", "loop", "link.png", "a.png"]),
    st.sampled_from([".hidden", "there.png", "dangling.png", "~", "\0", "secret.png", "\ud83d", "x" * 260]),
    st.text(max_size=5),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, max_size=7), start=st.sampled_from(["", "/", "./", "../"]))
def test_whatever_is_asked_for_is_inside_the_root_or_refused(
    folder: OutputFolder, place: Path, parts: list[str], start: str
) -> None:
    requested = start + "/".join(parts)
    try:
        final = folder.resolve(requested, JOB, ".png", NOW)
    except InvalidInput:
        return
    assert final.is_absolute() and final.parent.resolve() == final.parent
    assert final.is_relative_to(place / "root") and final.parent.is_dir()
    assert not final.is_symlink() and not final.is_dir()
    prepare(final, JOB)
    temporary_path(final, JOB).touch()
    sweep(final, JOB)
    assert (place / "outside" / "secret.png").read_text() == "secret"


# --- the server's own files ---


@pytest.fixture
def state(place: Path) -> Path:
    """A state directory below the root, as with `--output-dir .`, and a link to it."""
    state = place / "root" / ".state"
    (state / "run").mkdir(parents=True)
    (state / "jobs.sqlite3").write_text("the queue")
    (place / "root" / "alias").symlink_to(".state")
    (place / "alias").symlink_to("root/.state")
    return state


@pytest.mark.parametrize("allow_any", [False, True])
@pytest.mark.parametrize("named", ["state", "alias"])
@pytest.mark.parametrize(
    "requested",
    [".state/jobs.sqlite3", ".state/jobs.sqlite3-wal", ".state/new.png", ".state/run/a.png", "alias/jobs.sqlite3"],
)
def test_no_output_takes_the_place_of_the_servers_own_files(
    place: Path, state: Path, allow_any: bool, named: str, requested: str
) -> None:
    folder = OutputFolder(place / "root", allow_any, {"state": state, "alias": place / "alias"}[named])
    assert "its own files" in refusal(folder, requested)
    assert folder.resolve("a.png", JOB, ".png", NOW) == place / "root" / "a.png"


def test_nor_does_one_from_outside_the_root_where_any_path_is_allowed(place: Path) -> None:
    (place / "state").mkdir()
    (place / "alias").symlink_to("state")
    folder = OutputFolder(place / "root", allow_any=True, state_dir=place / "state")
    for requested in (str(place / "state" / "jobs.sqlite3"), "../state/a.png", str(place / "alias" / "a.png")):
        assert "its own files" in refusal(folder, requested)


def test_a_root_in_the_state_directory_takes_outputs_and_the_rest_of_it_none(place: Path) -> None:
    folder = OutputFolder(place / "root", allow_any=True, state_dir=place)
    assert folder.resolve("sub/a.png", JOB, ".png", NOW) == place / "root" / "sub" / "a.png"
    assert "its own files" in refusal(folder, "../jobs.sqlite3")
    folder = OutputFolder(place / "root", allow_any=False, state_dir=place / "root")
    assert "its own files" in refusal(folder, "jobs.sqlite3")
    assert folder.resolve(None, JOB, ".png", NOW) == place / "root" / DAY / f"{JOB}.png"


# --- removal ---


def removed(folder: OutputFolder, path: Path | str, modified_before: float = math.inf) -> bool:
    return folder.remove(JOB, Output(str(path), "image/png", 3, "0"), modified_before)


def test_an_output_is_removed_and_only_once(folder: OutputFolder) -> None:
    assert removed(folder, folder.root / "there.png") is True
    assert not (folder.root / "there.png").exists()
    assert removed(folder, folder.root / "there.png") is False


def test_a_file_changed_since_is_left_alone(folder: OutputFolder) -> None:
    file = folder.root / "there.png"
    os.utime(file, (1000.0, 1000.0))
    assert removed(folder, file, 1000.0) is False and file.exists()
    assert removed(folder, file, 1000.5) is True


@pytest.mark.parametrize(
    "name",
    ["link.png", "dangling.png", "out/secret.png", "up/outside/secret.png", "sub", "fifo.png", "../outside/secret.png"],
)
@pytest.mark.parametrize("allow_any", [False, True])
def test_removal_never_follows_a_link_nor_takes_what_is_no_file(place: Path, name: str, allow_any: bool) -> None:
    folder = OutputFolder(place / "root", allow_any, place / "state")
    before = sorted(place.rglob("*"))
    assert removed(folder, f"{folder.root}/{name}") is False
    assert sorted(place.rglob("*")) == before


def test_a_file_outside_the_root_is_removed_only_where_any_path_is_allowed(place: Path) -> None:
    file = place / "outside" / "secret.png"
    assert removed(OutputFolder(place / "root", False, place / "state"), file) is False and file.exists()
    assert removed(OutputFolder(place / "root", True, place / "state"), file) is True


def test_a_relative_or_impossible_path_is_never_removed(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root)
    for path in ("there.png", "", "/", "x" * 5000):
        assert removed(folder, path) is False


# --- a root that goes away ---


def test_a_root_that_is_gone_is_made_anew_as_soon_as_it_is_needed(folder: OutputFolder) -> None:
    shutil.rmtree(folder.root)
    assert folder.resolve(None, JOB, ".png", NOW) == folder.root / DAY / f"{JOB}.png"
    assert folder.root.is_dir() and folder.look() is folder.full() is folder.unwritable() is None


def test_where_it_cannot_be_made_the_request_is_not_accepted(folder: OutputFolder) -> None:
    shutil.rmtree(folder.root)
    folder.root.touch()
    with pytest.raises(NotAccepting, match="output root is gone") as caught:
        folder.resolve("a.png", JOB, ".png", NOW)
    assert str(folder.root) not in str(caught.value)


def test_a_root_that_is_not_mounted_any_more_is_not_made_anew(
    folder: OutputFolder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_mount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder.root or is_mount(path))
    mounted = OutputFolder(folder.root, allow_any=False, state_dir=place / "state")
    assert mounted.look() is None
    monkeypatch.undo()
    assert "not mounted" in (mounted.look() or "")
    shutil.rmtree(folder.root)
    with pytest.raises(NotAccepting, match="mount it again"):
        mounted.resolve(None, JOB, ".png", NOW)
    assert not folder.root.exists()
