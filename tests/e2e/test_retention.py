"""Old jobs and their outputs go after --keep, outputs before that if there are limits; nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_an_output_is_removed_before_its_job_and_is_410_then(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    server = serve(counting_model, keep="1h", keep_outputs="0s")
    server.wait_ready()
    job_id = server.submit(seed=1)
    first = server.get(f"/request_status/{job_id}", params={"wait": 60}).json()
    output = Path(first["output_path"])
    assert server.terminate() == 0
    again = serve(counting_model, keep="1h", keep_outputs="0s")
    again.wait_ready()
    status = wait_until(lambda: removed_output(again, job_id), 10, again.log())
    assert (status["status"], status["sha256"]) == ("succeeded", first["sha256"])
    assert status["output_removed"]["reason"] == "expired" and not output.exists()
    answer = again.get(f"/outputs/{job_id}")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (410, "output-expired")
    assert list((tmp_path / "outputs").iterdir()) == [], "the empty folder of the day is gone"
    assert again.result(again.submit(seed=2)).status_code == 200, "and made again"


def removed_output(server: RunningServer, job_id: str) -> dict[str, Any] | None:
    """The status of a job whose output was removed, None before that."""
    status = server.status(job_id)
    return status if status["output_removed"] else None


def test_the_oldest_outputs_make_room_for_the_newest(serve: Callable[..., RunningServer], counting_model: str) -> None:
    server = serve(counting_model, max_output_bytes=60)
    server.wait_ready()
    jobs = [server.submit(seed=number) for number in range(6)]
    results = [server.get(f"/request_status/{job_id}", params={"wait": 60}).json() for job_id in jobs]
    sizes = [result["size"] for result in results]
    gone = next(number for number in range(7) if sum(sizes[number:]) <= 60)
    assert 0 < gone < 6, "the counting predictor's outputs have a few bytes"
    wait_until(lambda: server.get("/server_status").json()["outputs"]["bytes"] <= 60, 20, server.log())
    outputs = server.get("/server_status").json()["outputs"]
    assert outputs == {"jobs": 6 - gone, "bytes": sum(sizes[gone:]), "max_bytes": 60, "evicted": gone}
    codes = [server.get(f"/outputs/{job_id}").status_code for job_id in jobs]
    assert codes == [410] * gone + [200] * (6 - gone)
    kinds = {server.get(f"/outputs/{job_id}").json()["type"].rpartition(":")[2] for job_id in jobs[:gone]}
    assert kinds == {"output-evicted"}
    assert [Path(result["output_path"]).exists() for result in results] == [code == 200 for code in codes]
    event = "outputs removed to stay within --max-output-bytes"
    wait_until(lambda: sum(record["jobs"] for record in server.records(event)) == gone, 10, "the line of each pass")
    assert sum(record["bytes"] for record in server.records(event)) == sum(sizes[:gone])


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
