"""The phase after a run: rank zero writes the output of one job while its group does the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image
from serving import DRAWING, RunningServer
from waiting import wait_until

Serve = Callable[..., RunningServer]


def is_written(server: RunningServer, job_id: str) -> bool:
    status = server.status(job_id)
    return (status["status"], status["phase"]) == ("running", "writing")


def test_the_group_does_the_next_job_while_the_output_is_written(serve: Serve, tmp_path: Path) -> None:
    server = serve(DRAWING)
    server.wait_ready()
    hold = tmp_path / "hold"
    hold.touch()
    slow = server.submit(seed=7, hold=str(hold))
    wait_until(lambda: is_written(server, slow), 30)
    quick = server.submit(seed=9)
    assert server.result(quick).status_code == 200
    assert is_written(server, slow)
    hold.unlink()
    result = server.result(slow)
    assert result.status_code == 200
    assert Image.open(result.json()["output_path"]).getpixel((0, 0)) == (7, 7, 7)
    assert server.terminate() == 0
