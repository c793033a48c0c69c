"""--reload: the ranks follow the predictor's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from serving import RunningServer
from waiting import wait_until

Serve = Callable[..., RunningServer]
MINE = """
import time
import torch.distributed as dist
import words
from para_attn_server import Predictor

class Mine(Predictor):
    output_suffix = ".txt"

    def setup(self):
        dist.init_process_group()

    def predict(self, steps: int = 1):
        for step in range(steps):
            time.sleep(0.05)
            self.step(step + 1, steps)
        return words.WORD
"""


@pytest.mark.slow
def test_a_change_beside_the_predictor_reaches_running_and_later_jobs(serve: Serve, tmp_path: Path) -> None:
    mine, words = tmp_path / "mine.py", tmp_path / "words.py"
    mine.write_text(MINE)
    words.write_text("this is broken")
    server = serve(f"{mine}:Mine", reload=True)
    wait_until(lambda: server.records("backing off before relaunch"), 60, "the first setup's failure")
    words.write_text("WORD = 'one'")
    server.wait_ready()
    assert output(server, server.submit()) == "one"
    running = server.submit(steps=60)
    server.wait_step(running, 2)
    words.write_text("WORD = 'the second'")
    assert output(server, running) == "the second"
    assert server.status(running)["attempts"] == 1
    mine.write_text("no Python")
    wait_until(lambda: "(mine.py, line 1)" in server.log(), 60, "the failure")
    assert any('File "' in one["exception"] for one in server.records("the setup waits for a change of the predictor"))
    mine.write_text(MINE + "\n\n")
    assert output(server, server.submit()) == "the second"
    assert server.terminate() == 0


def output(server: RunningServer, job: str) -> str:
    """What a job has come to."""
    assert server.result(job).status_code == 200
    return server.get(f"/outputs/{job}").text
