"""What `para-attn-server status ID` shows of a job."""

from __future__ import annotations

import pytest

from para_attn_server.cli.status import _show_job, job_rows

DONE = {
    "request_id": "ab",
    "status": "succeeded",
    "output_path": "/out/a.png",
    "timings": {"queued_seconds": 1.0, "run_seconds": 2.0},
}


def test_a_job_whose_file_was_removed_says_so_and_why() -> None:
    assert ("output", "removed from the server (evicted)") in job_rows(
        {**DONE, "output_removed": {"at": 1.0, "reason": "evicted"}}
    )
    assert "output" not in dict(job_rows({**DONE, "output_removed": None}))


def test_into_a_pipe_no_value_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "/outputs/" + "a" * 300 + ".png"
    _show_job({**DONE, "output_path": path})
    assert path in capsys.readouterr().out


def test_a_job_whose_output_is_written_says_so() -> None:
    job = {"request_id": "ab", "status": "running", "phase": "writing"}
    assert ("status", "writing") in job_rows(job)
    assert ("status", "running") in job_rows({**job, "phase": None})
