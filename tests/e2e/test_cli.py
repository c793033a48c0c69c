"""The client's commands against a real server with two ranks."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from serving import RunningServer
from waiting import wait_until

COMMAND = [sys.executable, "-m", "para_attn_server"]


def run(server: RunningServer, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PARA_ATTN_SERVER_URL": server.url, "COLUMNS": "200"}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, cwd=folder, env=environment, check=False
    )


def start(server: RunningServer, *arguments: str, **streams: int) -> subprocess.Popen[str]:
    """`generate` in the background, hearing Ctrl-C even where the test run itself was started to ignore it."""
    command = [*COMMAND, "generate", "--url", server.url, *arguments]
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, preexec_fn=hear, **streams)


def running_job(server: RunningServer) -> str:
    """The id of the job on the first group, once it has done a step."""
    job_id: str = wait_until(lambda: server.group()["job_id"], 30, "a running job")
    server.wait_step(job_id, 1)
    return job_id


def test_generate_shows_progress_in_lines_and_saves_the_file(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "steps=40", "delay=0.03", "seed=7", "text=hi", "-o", "out.txt", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "saved out.txt (seed 7)\n"
    assert (tmp_path / "out.txt").read_text().endswith("hi\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    lines = done.stderr.splitlines()
    assert lines[0].startswith("job ")
    assert sum("running, step" in line and "left" in line for line in lines) > 2
    assert lines[-1] == "succeeded, step 40/40"


def test_jobs_shows_a_job_that_was_done_with_its_notes(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "steps=1", "--metadata", '{"album": "spring"}', folder=tmp_path)
    request_id = done.stderr.splitlines()[0].removeprefix("job ")
    (row,) = run(counting, "jobs", "--limit", "1").stdout.splitlines()[1:]
    assert row.split()[:2] == [request_id, "succeeded"]
    (job,) = json.loads(run(counting, "jobs", "--status", "succeeded", "--limit", "1", "--json").stdout)
    assert (job["request_id"], job["metadata"]) == (request_id, {"album": "spring"})
    answer = counting.request("DELETE", f"/jobs/{request_id}")
    assert answer.status_code == 200 and not Path(job["outputs"][0]["output_path"]).exists()


def test_generate_names_the_file_after_the_job(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "--param", "steps=1", folder=tmp_path)
    request_id = done.stderr.splitlines()[0].removeprefix("job ")
    assert done.stdout.startswith(f"saved {request_id}.txt")
    assert (tmp_path / f"{request_id}.txt").is_file()
    run(counting, "generate", "steps=1", "-o", str(tmp_path))
    assert len(list(tmp_path.glob("*.txt"))) == 2


def test_generate_makes_a_folder_and_writes_to_standard_output(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "steps=1", "seed=7", "-o", "new/", folder=tmp_path)
    assert done.stdout.startswith("saved new/"), done.stderr
    (saved,) = tmp_path.glob("new/*.txt")
    shown = run(counting, "generate", "steps=1", "seed=7", "-o", "-", folder=tmp_path)
    assert shown.stdout == saved.read_text()
    assert shown.stderr.splitlines()[-1] == "saved to standard output (seed 7)"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_generate_warns_of_a_name_for_another_kind_of_file(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "steps=1", "seed=7", "-o", "x.jpg", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "saved x.jpg (seed 7)\n")
    assert done.stderr.splitlines()[-1] == "warning: x.jpg is text/plain, whose suffix is .txt"
    assert (tmp_path / "x.jpg").read_text().startswith("7 ")
    for name in ("x.TXT", "x"):
        assert "warning" not in run(counting, "generate", "steps=1", "-o", name, folder=tmp_path).stderr


def test_generate_draws_a_bar_on_a_terminal(counting: RunningServer, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(
        counting, "steps=40", "delay=0.03", "seed=7", "-o", str(tmp_path / "x.txt"), stderr=theirs, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # how Linux ends a terminal
        pass
    os.close(ours)
    assert process.wait(30) == 0
    text = shown.decode()
    assert "━" in text
    assert "step 40/40" in text
    assert "left" in text
    assert text.rstrip().endswith("(seed 7)")


def test_a_job_in_the_queue_shows_its_place(counting: RunningServer, tmp_path: Path) -> None:
    with counting.busy():
        counting.submit(steps=1)
        waiting = start(counting, "steps=2", "-o", str(tmp_path / "x.txt"), stderr=subprocess.PIPE)
        assert waiting.stderr is not None
        assert any("queued, 1 job before it" in line for line in waiting.stderr)
    said = waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 0, said
    assert (tmp_path / "x.txt").is_file()


def test_a_failed_job_exits_with_1_and_says_why(counting: RunningServer, tmp_path: Path) -> None:
    done = run(counting, "generate", "fail_at=2", "-o", "x.txt", folder=tmp_path)
    assert done.returncode == 1
    assert "asked to fail at step 2" in done.stderr
    assert "ValueError" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_named(counting: RunningServer) -> None:
    done = run(counting, "generate", "steps=0", "stepz=3")
    assert done.returncode == 1
    assert "steps must be an integer from 1" in done.stderr
    assert "stepz is an unknown argument" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_cancels_the_job_on_the_server(counting: RunningServer, tmp_path: Path) -> None:
    output = tmp_path / "x.txt"
    process = start(counting, "steps=5000", "delay=0.01", "-o", str(output), stderr=subprocess.PIPE)
    job_id = running_job(counting)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"job {job_id} is canceled on the server" in error
    assert counting.status(job_id)["detail"] == "It has no output."
    assert not output.exists()


def test_cancel_stops_the_running_job(counting: RunningServer) -> None:
    job_id = counting.submit(steps=5000, delay=0.01)
    running_job(counting)
    done = run(counting, "cancel")
    assert (done.returncode, done.stdout) == (0, f"job {job_id} is canceled\n")
    again = run(counting, "cancel", job_id)
    assert again.returncode == 1
    assert "Nothing to cancel" in again.stderr


def test_status_shows_groups_and_jobs(counting: RunningServer) -> None:
    job_id = counting.submit(steps=1, text="told")
    assert counting.result(job_id).status_code == 200
    page = run(counting, "status")
    assert page.returncode == 0, page.stderr
    assert f"{counting.url} is ok" in page.stdout
    for rank in range(2):
        assert f"{rank}: pid {counting.rank_pid(rank)} on cpu" in page.stdout
    job = run(counting, "status", job_id).stdout
    assert "succeeded" in job
    assert "sha256" in job
    assert json.loads(run(counting, "status", job_id, "--json").stdout)["request_id"] == job_id
    failed = counting.submit(fail_at=1)
    counting.result(failed)
    assert "asked to fail at step 1" in run(counting, "status", failed).stdout


def test_status_of_what_is_not_there(counting: RunningServer) -> None:
    assert "No such job" in run(counting, "status", "abc").stderr
    done = run(counting, "status", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
