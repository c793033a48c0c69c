"""Old jobs and their outputs go after --keep; nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from serving import RunningServer
from waiting import wait_until


def test_jobs_and_outputs_are_removed_after_keep(serve: Callable[..., RunningServer], counting_model: str) -> None:
    server = serve(counting_model, keep="1h")
    server.wait_ready()
    job_id = server.submit(seed=1)
    output = Path(server.result(job_id).json()["output_path"])
    bystander = output.with_name("somebody's own file.txt")
    bystander.write_text("kept")
    assert server.terminate() == 0
    again = serve(counting_model, keep="0s")
    again.wait_ready()
    wait_until(lambda: again.get(f"/request_status/{job_id}").status_code == 404, 10)
    wait_until(lambda: not output.exists(), 10)
    assert bystander.read_text() == "kept"


def test_an_output_lies_in_its_days_folder_and_a_named_one_where_it_was_asked_for(counting: RunningServer) -> None:
    job_id = counting.submit(seed=1)
    first = Path(counting.result(job_id).json()["output_path"])
    root = first.parents[3]
    day = time.strftime("%Y/%m/%d", time.gmtime(counting.status(job_id)["created_at"]))
    assert first == root / day / f"{job_id}.txt" and not list(root.glob(".*"))
    (root / "sub").mkdir()
    result = counting.result(counting.submit(seed=2, output_path="sub/mine.txt")).json()
    assert Path(result["output_path"]) == root / "sub" / "mine.txt"
    assert (root / "sub" / "mine.txt").read_text().startswith("2 ")
    assert [path.name for path in (root / "sub").iterdir()] == ["mine.txt"], "no temporary file is left"
    for bad in ("../escape.txt", "/etc/passwd", "missing/folder.txt", "sub", ""):
        answer = counting.post("/generate", json={"output_path": bad})
        assert answer.status_code == 400, bad
        assert answer.json()["errors"][0]["pointer"] == "#/output_path"


def test_the_queue_below_the_output_root_is_nobodys_output(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    server = serve(counting_model, output_dir=tmp_path)
    server.wait_ready()
    answer = server.post("/generate", json={"output_path": "state/jobs.sqlite3"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/output_path")
    assert server.result(server.submit(seed=1, output_path="mine.txt")).status_code == 200
