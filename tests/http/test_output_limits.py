"""What clients are told of outputs that the server has removed, and of a disk without room for another."""

from __future__ import annotations

from pathlib import Path

import pytest
from web import Web

from para_attn_server.core.job import Removal


@pytest.mark.parametrize("reason", Removal)
def test_the_file_of_an_output_that_was_removed_is_410_with_the_reason_and_its_job_says_so(
    web: Web, reason: Removal
) -> None:
    job_id = web.done(b"0123456789")
    before = web.get(f"/request_status/{job_id}").json()
    assert before["output_removed"] is None
    Path(web.job(job_id).output_path).unlink()
    web.controller.store.outputs_removed([job_id], reason, 1795651199.5)
    for path in (f"/outputs/{job_id}", f"/get_output/{job_id}"):
        answer = web.get(path)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (410, f"output-{reason}")
        assert answer.json()["removed_at"] == 1795651199.5
    after = web.get(f"/request_status/{job_id}").json()
    assert before["output_url"] and before["outputs"][0].pop("url")
    gone = {"output_url": None, "outputs": [{**before["outputs"][0], "url": None}]}
    assert after == {**before, **gone, "output_removed": {"at": 1795651199.5, "reason": reason.value}}


def test_the_server_status_has_the_sum_of_all_outputs(web: Web) -> None:
    before = web.get("/server_status").json()["outputs"]
    job_id = web.done(b"0123456789")
    after = web.get("/server_status").json()["outputs"]
    assert after == {**before, "jobs": before["jobs"] + 1, "bytes": before["bytes"] + 10}
    web.controller.store.outputs_removed([job_id], Removal.EVICTED, 1.0)
    assert web.get("/server_status").json()["outputs"] == {**before, "evicted": before["evicted"] + 1}


def test_less_free_space_than_wanted_is_507_with_both_numbers(tmp_path: Path) -> None:
    web = Web(tmp_path, min_free=2**62, max_output_bytes=7)
    try:
        for output_path in (None, "mine.png"):
            answer = web.post("/generate", json={"prompt": "a"} | ({"output_path": output_path} if output_path else {}))
            body = answer.json()
            assert (answer.status_code, body["type"].rpartition(":")[2]) == (507, "insufficient-storage")
            assert 0 < body["free_bytes"] < body["wanted_bytes"] == 2**62
            assert "Retry-After" in answer.headers
        assert web.post("/generate", json={"prompt": 7}).status_code == 400, "what is wrong is said all the same"
        assert web.get("/server_status").json()["outputs"]["max_bytes"] == 7
    finally:
        web.close()
