"""`try` runs a predictor on real ranks, without a server."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from media import turned
from PIL import Image
from waiting import wait_until

from para_attn_server.cli.files import with_digests
from para_attn_server.core.errors import ExitCode, InvalidInput

MINE = """
import os, time
import torch.distributed as dist
from PIL import Image
from para_attn_server import Predictor

class Mine(Predictor):
    def setup(self):
        dist.init_process_group()

    def predict(self, prompt: str, steps: int = 2, wrong_on: int = -1, dies: bool = False, seed: int = 0):
        for step in range(steps):
            self.step(step + 1, steps)
            if dist.get_rank() == wrong_on:
                if dies:
                    os.kill(os.getpid(), 9)
                raise ValueError("this was asked for")
        self.log(f"drew {prompt}")
        self.emit("state", {"prompt": prompt})
        time.sleep(0 if steps < 99 else 99)
        return [Image.new("RGB", (8, 6)), {"ranks": dist.get_world_size(), "prompt": prompt}]

class Gated(Mine):
    def setup(self):
        raise OSError("the weights are gated")
"""
COMMAND = [sys.executable, "-P", "-m", "para_attn_server", "try"]
ENVIRONMENT = {**os.environ, "PARA_ATTN_SERVER_PRELOAD": "torch.distributed"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a predictor's file."""
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def tried(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=90, cwd=folder, env=ENVIRONMENT, check=False
    )


def test_a_predictor_runs_once_on_its_ranks(folder: Path) -> None:
    done = tried(folder, "mine.py:Mine", "a", "star", "-o", "star.webp", "--num-devices", "2")
    assert (done.returncode, done.stdout) == (0, "saved star.webp\nsaved star-1.json\n"), done.stderr
    assert Image.open(folder / "star.webp").format == "WEBP"
    assert (folder / "star-1.json").read_text() == '{"ranks": 2, "prompt": "a star"}\n'
    said = done.stderr.splitlines()
    assert "2 ranks are ready on cpu" in said and "running, step 1/2" in said and "drew a star" in said
    assert 'emitted state: {"prompt": "a star"}' in said


def test_a_file_is_given_to_predict(folder: Path) -> None:
    (folder / "photo.jpg").write_bytes(turned())
    example = str(Path(__file__).parents[2] / "examples" / "variations.py")
    done = tried(folder, f"{example}:Variations", "image=@photo.jpg", "side=64", "-o", "a.png", "--num-devices", "2")
    assert done.stdout == "saved a.png\nsaved a-1.png\nsaved a-2.png\nsaved a-3.png\n", done.stderr
    assert Image.open(folder / "a.png").size == (32, 64)


def test_a_file_that_fits_no_argument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(turned())
    (tmp_path / "no.txt").write_text("no picture")
    one = {"type": "string", "format": "image-input"}
    clip, several = {"type": "string", "format": "video-input"}, {"type": "array", "items": one}
    schema = {"properties": {"image": one, "refs": several, "clip": clip}}
    given = {"image": tmp_path / "photo.jpg", "refs": [tmp_path / "photo.jpg"], "steps": 3}
    digest = hashlib.sha256(turned()).hexdigest()
    assert with_digests(given, schema, 10**6) == (
        {"image": digest, "refs": [digest], "steps": 3},
        {digest: str(tmp_path / "photo.jpg")},
    )
    for arguments, most, says in (
        ({"image": tmp_path / "no.txt"}, 10**6, "is not accepted: it is no PNG"),
        ({"image": tmp_path / "photo.jpg"}, 10, "40 x 20 pixels are more than 10"),
        ({"clip": tmp_path / "photo.jpg"}, 10**6, "clip: must be a video"),
        ({"refs": ["x"]}, 10**6, "refs/0: must be a file: refs=@FILE"),
    ):
        with pytest.raises(InvalidInput, match=says):
            with_digests(arguments, schema, most)


@pytest.mark.slow
def test_what_predict_raises_is_shown_once_with_its_traceback(folder: Path) -> None:
    done = tried(folder, "mine.py:Mine", "prompt=a", "wrong_on=1", "--num-devices=2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("Traceback") == done.stderr.count('File "mine.py"') == 1
    assert done.stderr.splitlines()[-1] == ("para-attn-server: ValueError: this was asked for (rank 1, after step 1)")
    assert [path.name for path in folder.iterdir() if path.suffix != ".py"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        (["Gated", "x"], ExitCode.SETUP_FAILED, "setup failed on rank 0: OSError: the weights are gated"),
        (["Mine", "x", "steps=x"], ExitCode.USAGE, 'steps: must be an integer, not "x"; see '),
        (["Mine", "x", "dies=true", "wrong_on=0"], 1, "rank 0 was killed by SIGKILL"),
        (["Mine", "x", "-o", "star.mp4"], 1, "invalid_input: output_path: a picture is made: "),
        (["Mine", "x", "--set", "tint=red"], ExitCode.USAGE, "--set: Mine takes no argument named tint"),
        (["Nobody", "x"], ExitCode.USAGE, "--model: mine.py has no 'Nobody'"),
    ],
)
def test_each_failure_is_one_sentence(folder: Path, words: list[str], code: int, last: str) -> None:
    ranks = 2 if "--set" in words else 1  # both ranks say it
    done = tried(folder, f"mine.py:{words[0]}", *words[1:], f"--num-devices={ranks}")
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith(f"para-attn-server: {last}"), done.stderr
    assert code != ExitCode.USAGE or "Traceback" not in done.stderr


def test_what_needs_no_rank_is_refused_before_one_starts(folder: Path) -> None:
    assert "there is no folder nowhere" in tried(folder, "mine.py:Mine", "x", "-o", "nowhere/a.png").stderr
    done = tried(folder, "yours.py:Mine", "x")
    assert (done.returncode, done.stderr.count("there is no file")) == (ExitCode.USAGE, 1)


@pytest.mark.slow
def test_ctrl_c_ends_the_ranks(folder: Path) -> None:
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            [*COMMAND, "mine.py:Mine", "x", "steps=100"], cwd=folder, env=ENVIRONMENT, stderr=said, preexec_fn=hear
        )
        wait_until(lambda: "drew x" in (folder / "said").read_text(), 60, "the last step")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert (folder / "said").read_text().splitlines()[-1] == "para-attn-server: interrupted"
