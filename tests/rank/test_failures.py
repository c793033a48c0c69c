"""What a failed job tells its client: the cause, and nothing of the server's inside."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest
import torch

from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.output import OutputUnfit
from para_attn_server.rank.failures import OutputMissing, describe, full_text

OUTPUT = "/out/a.png"
PART = f".{'0' * 32}.part"


class Wordless(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        return f"code {self.code}"  # type: ignore[attr-defined]


class WordlessOOM(MemoryError):
    """Nor can this one's."""

    def __str__(self) -> str:
        return f"{self.asked} bytes"  # type: ignore[attr-defined]


class Unprintable:
    """What is no text is given to an OSError for one."""

    def __str__(self) -> str:
        raise ValueError("no text")


class BadLine(SyntaxError):
    """One that even the traceback module cannot print."""

    @property
    def text(self) -> str:  # type: ignore[override]
        raise AttributeError("no such line")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ValueError("a bad value"), "ValueError", "a bad value"),
        (RuntimeError(""), "RuntimeError", "RuntimeError"),
        (SystemExit(3), "SystemExit", "3"),
        (MemoryError(), "out_of_memory", "out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
            "allo",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory", "2 GiB"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/y.png"),
            "output_unwritable",
            "No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/out/y.png"), "output_unwritable", "Permission denied"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/lora.bin"),
            "FileNotFoundError",
            "lora.bin: No such file",
        ),
        (OutputMissing(), "output_missing", "wrote no file"),
        (OutputMissing(["a-0.png", "a-1.png"]), "output_missing", "wrote 2 other files such as a-0.png beside it"),
        (
            OutputMissing([], Path("a")),
            "output_missing",
            "a value of type pathlib.PosixPath, which is not",
        ),
        (
            OutputMissing([], "aGVsbG8="),
            "output_missing",
            "of type str, which is not used, but wrote no file",
        ),
        (OutputMissing(["a-0.png"]), "output_missing", "wrote a-0.png beside it"),
        (OutputMissing(by_others=True), "output_missing", "another rank wrote one, but only that of rank zero counts"),
        (OutputUnfit("an empty file"), "output_missing", "at output_path there is an empty file"),
        (OSError(errno.ENOSPC, "No space", f"/out/{PART}/.rank-1/a.png"), "output_unwritable", "No space"),
        (ValueError("\x1b[2Jbad\x00 \x9bvalue\x7f\tand\nmore"), "ValueError", "?[2Jbad? ?value?\tand\nmore"),
        (type("\x1bOdd", (Exception,), {})("x"), "?Odd", "x"),
        (FileNotFoundError(errno.ENOENT, "No such file", f"/out/{PART}/a.png"), "output_unwritable", "No such file"),
        (FileNotFoundError(errno.ENOENT, "No such file", f"/out/{PART}"), "output_unwritable", "No such file"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/out/mask.png"), "FileNotFoundError", "mask.png"),
        (InvalidInput([FieldError("#/steps", "must be at most 50")]), "invalid_input", "steps: must be at most 50"),
        (ValueError("cannot read caf\udce9.png"), "ValueError", "cannot read caf?.png"),
        (OSError(errno.EIO, "\udce9"), "output_unwritable", "cannot be written: ?"),
        (Wordless(3), "Wordless", "Wordless"),
        (WordlessOOM(), "out_of_memory", "WordlessOOM"),
        (OSError(errno.ENOENT, b"no such file"), "FileNotFoundError", "no such file"),
        (OSError(errno.EIO, Unprintable()), "output_unwritable", "OSError"),
        (OSError(["a list"], "is no number"), "OSError", "is no number"),
    ],
)
def test_an_exception_becomes_a_type_and_a_message(error: BaseException, kind: str, words: str) -> None:
    told = describe(error, rank=1, step=4, output_path=OUTPUT)
    assert told.type == kind
    assert words in told.message
    assert told.rank == 1


@pytest.mark.parametrize("refused", [PART, f"{PART}/a.png", "2026", "2026/11/26"])
def test_a_disk_that_refuses_the_folder_of_a_day_or_the_part_of_its_output_is_the_outputs(refused: str) -> None:
    job_id = PART.split(".")[1]
    error = PermissionError(errno.EACCES, "Permission denied", f"/out/{refused}")
    assert describe(error, 0, 1, f"/out/2026/11/26/{job_id}.png").type == "output_unwritable"
    other = PermissionError(errno.EACCES, "Permission denied", "/out/2025/lora.bin")
    assert describe(other, 0, 1, f"/out/2026/11/26/{job_id}.png").type == "PermissionError"


def test_memory_and_disk_come_with_a_hint() -> None:
    assert "lower" in (describe(MemoryError(), 0, 1, OUTPUT).hint or "")
    assert "space" in (describe(OSError(errno.ENOSPC, "x"), 0, 1, OUTPUT).hint or "")


def test_paths_tracebacks_and_length_are_cut() -> None:
    nested = RuntimeError("worker said: Traceback (most recent call last):\n  File /srv/app/secret.py\nboom")
    assert describe(nested, 0, None, OUTPUT).message == "worker said:"
    assert len(describe(ValueError("x" * 10000), 0, None, OUTPUT).message) == 500


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "cannot open /srv/private/model.bin now, see https://a.b/c/d",
            "cannot open model.bin now, see https://a.b/c/d",
        ),
        ("file:///srv/private/w.bin", "w.bin"),
        ("model:/srv/private/w.bin", "model:w.bin"),
        ("//srv/private/w.bin", "w.bin"),
        ("'/srv/my models/sub/w.bin' is short", "'w.bin' is short"),
        ("/srv/my models/sub/w.bin", "w.bin"),
        ("/home/u/[x]/y.json", "y.json"),
        ("/srv/private/folder/ and /c/d", "folder and d"),
        ("in /a/b, not docs/x.md", "in b, not docs/x.md"),
        ("GET /schema and/or 3/4 a / b", "GET /schema and/or 3/4 a / b"),
    ],
)
def test_of_a_path_only_its_last_part_is_told(said: str, told: str) -> None:
    assert describe(ValueError(said), 0, None, OUTPUT).message == told


def test_a_disk_that_refuses_another_file_is_not_the_outputs() -> None:
    of_output = describe(PermissionError(errno.EACCES, "Permission denied", f"/out/{PART}/a.png"), 0, 1, OUTPUT)
    assert (of_output.type, of_output.message) == (
        "output_unwritable",
        "the output cannot be written: Permission denied",
    )
    other = describe(PermissionError(errno.EACCES, "Permission denied", "/srv/lora.bin"), 0, 1, OUTPUT)
    assert (other.type, other.message) == ("PermissionError", "lora.bin: Permission denied")


@pytest.mark.parametrize(("error", "name"), [(Wordless(3), "Wordless"), (BadLine("x"), "BadLine")])
def test_any_exception_has_a_traceback_for_the_log(error: Exception, name: str) -> None:
    with contextlib.suppress(Wordless, BadLine):
        raise error
    assert name in full_text(error)
