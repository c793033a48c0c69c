"""A whole server with a predictor of the user's own: options in, returned values out, and teardown at the end."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from serving import RunningServer

from para_attn_server.core.errors import ExitCode

MINE = """
import pathlib
import torch.distributed as dist
from PIL import Image
from para_attn_server import Predictor

class Mine(Predictor):
    def __init__(self, color: str, size: int = 4):
        self.color, self.size = color, size

    def setup(self):
        dist.init_process_group()

    def predict(self, several: bool = False, seed: int = 0):
        picture = Image.new("RGB", (self.size, self.size), self.color)
        self.step(1, 1)
        return [{"seed": seed}, picture, b"raw"] if several else picture

    def teardown(self):
        pathlib.Path(__file__).with_name(f"torn-down-{dist.get_rank()}").touch()
        if dist.get_rank():
            raise RuntimeError("it was asked for")
"""
Serve = Callable[..., RunningServer]


def test_options_returned_values_and_teardown(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    server = serve(f"{tmp_path / 'mine.py'}:Mine", set='{"color": "blue", "size": "9"}')
    server.wait_ready()
    one, several = server.submit(), server.submit(several=True, seed=7)
    picture = server.result(one)
    assert (picture.status_code, server.status(one)["file_type"]) == (200, "image/png")
    made = Image.open(io.BytesIO(server.get(f"/outputs/{one}").content))
    assert (made.size, made.getpixel((0, 0))) == ((9, 9), (0, 0, 255))
    assert server.result(several).status_code == 200
    status = server.status(several)
    assert [each["file_type"] for each in status["outputs"]] == ["application/json", "image/png", "image/png"]
    assert Path(status["output_path"]).suffix == ".json" and Path(status["output_path"]).is_file()
    assert server.get(f"/outputs/{several}").json() == {"seed": 7}
    assert server.get(f"/outputs/{several}/2").content == b"raw"
    assert server.terminate() == 0
    assert sorted(path.name for path in tmp_path.glob("torn-down-*")) == ["torn-down-0", "torn-down-1"]
    assert ["it was asked for" in line for line in server.complaints()] == [True]


@pytest.mark.slow
def test_an_option_that_there_is_not_ends_the_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    server = serve(f"{tmp_path / 'mine.py'}:Mine", set="colour=blue")
    assert server.process.wait(60) == ExitCode.USAGE
    assert "--set: Mine takes no argument named colour; did you mean color? it takes color, size" in server.log()
