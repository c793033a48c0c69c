"""Standard streams that are closed, full or of a poor encoding, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CLOSED = "<&- >&- 2>&-"
FULL = ">/dev/full 2>/dev/full"
GONE = "> >(:) 2> >(:)"


def run(streams: str, code: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A Python with these streams, as a shell starts it."""
    shell = ["bash", "-c", f'exec "$0" "$@" {streams}', sys.executable, "-c", code]
    return subprocess.run(shell, env=os.environ | variables, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("streams", [CLOSED, "<&-", ">&-", "2>&-", ""])
def test_what_is_opened_never_gets_the_number_of_a_standard_stream(streams: str) -> None:
    code = (
        "import os, socket, sys; from para_attn_server.core.streams import open_closed; open_closed(); "
        "one = socket.socket(); print('x'); print('x', file=sys.stderr); sys.stdin.read(0); "
        "os._exit(10 + (one.fileno() > 2))"
    )
    assert run(streams, code).returncode == 11


@pytest.mark.parametrize("streams", [CLOSED, FULL, GONE])
def test_what_cannot_be_written_ends_no_process_of_the_server(streams: str) -> None:
    code = (
        "import logging, sys; from para_attn_server.core import logs, streams; streams.open_closed(); "
        "logs.configure_logging('info', 'json', 'x'); logging.getLogger().error('x' * 100000); "
        "print('y' * 100000); sys.stdout.flush(); print('z', file=sys.stderr); sys.exit(7)"
    )
    assert run(streams, code).returncode == 7


def test_a_line_for_people_moves_no_cursor() -> None:
    code = (
        "import logging; from para_attn_server.core import logs; logs.configure_logging('info', 'console', 'x')\n"
        "try: raise ValueError('\\x1b[2J\\x00bad')\n"
        "except ValueError: logging.getLogger().exception('a\\tb\\x9b', extra={'job': '\\x1b[1mc'})"
    )
    said = run("", code).stderr.decode()
    assert "a\tb?" in said and "job=?[1mc" in said and said.endswith("ValueError: ?[2J?bad\n")
    assert not [each for each in said if each not in "\n\t" and not each.isprintable()]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_written(encoding: str) -> None:
    code = (
        "import sys; from para_attn_server.core.streams import lose_what_cannot_be_written, write_any_text; "
        "write_any_text(); text = '\\u4e2d \\udcff'; print(text, flush=True); lose_what_cannot_be_written(); "
        "print(text); print(text, file=sys.stderr)"
    )
    done = run("", code, PYTHONIOENCODING=encoding)
    line = "\u4e2d \udcff\n".encode(encoding, "backslashreplace")
    assert (done.returncode, done.stdout, done.stderr) == (0, 2 * line, line)


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">/dev/full", 1, b"para-attn-server: cannot write to standard output: No space left on device\n"),
        ("> >(:)", 1, None),  # nobody is interested any more
        (">&-", 0, b""),
        ("<&- >&- 2>&-", 0, b""),
        ("2>/dev/full", 0, b""),
    ],
)
def test_a_command_whose_words_find_no_place_says_so(streams: str, code: int, said: bytes | None) -> None:
    shell = f"exec {sys.executable} -P -m para_attn_server status --help {streams}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=False)
    assert said is None or (done.returncode, done.stderr) == (code, said)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_refusal_that_finds_no_place_keeps_its_exit_code() -> None:
    shell = f"exec {sys.executable} -P -m para_attn_server --port many 2>/dev/full"
    assert subprocess.run(["bash", "-c", shell], timeout=60, check=False).returncode == 2


@pytest.mark.parametrize("optimize", ["-O", "-OO"])
def test_help_pages_are_there_without_docstrings(optimize: str) -> None:
    command = [sys.executable, optimize, "-P", "-m", "para_attn_server", "status", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Show the server, or one job." in done.stdout
