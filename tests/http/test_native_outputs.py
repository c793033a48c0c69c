"""Outputs, cancels and the server's own state in the native dialect, from the real web processes."""

from __future__ import annotations

import base64
import os
import random
import threading
import time
from pathlib import Path

import pytest
from waiting import wait_until
from web import SCHEMA, Web
from werkzeug.datastructures import Headers
from werkzeug.http import parse_options_header

from para_attn_server.core.output import temporary_path
from para_attn_server.http.kit.files import _names

UNKNOWN = "0123456789abcdef" * 2


# --- the output's bytes ---


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_003])
def test_the_output_in_base64_is_the_file(web: Web, size: int) -> None:
    data = random.Random(size).randbytes(size)
    answer = web.get(f"/get_output/{web.done(data)}")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert base64.b64decode(answer.json()["output"], validate=True) == data


def test_the_output_as_a_file(web: Web) -> None:
    job_id = web.done(b"0123456789")
    answer = web.get(f"/outputs/{job_id}")
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = web.get(f"/outputs/{job_id}", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert web.get(f"/outputs/{job_id}", headers={"range": "bytes=50-"}).status_code == 416
    assert answer.headers["content-disposition"] == f"inline; filename={web.job(job_id).id}.png"
    known = {"if-none-match": answer.headers["etag"]}
    assert web.get(f"/outputs/{job_id}", headers=known).status_code == 304
    head = web.ask("HEAD", f"/outputs/{job_id}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


@pytest.mark.parametrize(
    ("name", "plain"),
    [("日本.png", "output.png"), ("日本 -.png", "output.png"), ("Käse 日.png", "Kase .png"), ("é", "e")],
)
def test_old_clients_get_a_name_that_is_not_hidden(name: str, plain: str) -> None:
    value = Headers()
    value.set("Content-Disposition", "inline", **_names(name))
    assert parse_options_header(value["Content-Disposition"])[1]["filename"] == name
    found = parse_options_header(value["Content-Disposition"].partition("; filename*")[0])
    assert found == ("inline", {"filename": plain})


def test_an_output_on_its_way_is_202(web: Web) -> None:
    assert web.get(f"/outputs/{web.started()}").status_code == 202


def test_a_removed_output_is_gone(web: Web) -> None:
    job_id = web.done()
    Path(web.job(job_id).output_path).unlink()
    assert web.get(f"/outputs/{job_id}").status_code == 410
    assert web.get(f"/get_output/{job_id}").status_code == 410
    assert web.get(f"/request_status/{job_id}").status_code == 200


def test_an_output_in_whose_place_a_folder_is_is_gone(web: Web) -> None:
    job_id = web.done()
    path = Path(web.job(job_id).output_path)
    path.unlink()
    path.mkdir()
    assert web.get(f"/outputs/{job_id}").status_code == 410
    assert web.get(f"/get_output/{job_id}").status_code == 410


def test_an_output_that_another_has_replaced_is_gone_and_one_that_was_put_back_is_not(web: Web) -> None:
    job_id = web.done()
    path = Path(web.job(job_id).output_path)
    content = path.read_bytes()
    for other in (b"x" * len(content), b"another"):
        path.write_bytes(other)
        later = time.time() + 1
        os.utime(path, (later, later))
        assert web.get(f"/outputs/{job_id}").status_code == 410
        answer = web.get(f"/get_output/{job_id}")
        assert (answer.status_code, "replaced" in answer.json()["detail"]) == (410, True)
    path.write_bytes(content)
    os.utime(path, (later, later))
    assert web.get(f"/outputs/{job_id}").content == content
    assert web.get(f"/get_output/{job_id}").status_code == 200


def test_an_output_that_was_written_earlier_and_put_in_its_place_later_is_another(web: Web) -> None:
    job_id = web.done()
    path = Path(web.job(job_id).output_path)
    other = path.with_name(".other.part.png")
    other.write_bytes(b"x" * path.stat().st_size)
    written = path.stat().st_mtime - 1
    os.utime(other, (written, written))
    other.replace(path)
    assert web.get(f"/outputs/{job_id}").status_code == 410
    assert web.get(f"/get_output/{job_id}").status_code == 410


def test_an_output_that_has_not_got_its_name_yet_is_served_from_where_it_is(web: Web) -> None:
    job_id = web.done(b"0123456789")
    path = Path(web.job(job_id).output_path)
    part = temporary_path(path, job_id)
    part.parent.mkdir(parents=True)
    path.rename(part)
    path.write_bytes(b"of another")  # which the output is about to replace
    assert web.get(f"/outputs/{job_id}").content == b"0123456789"
    assert base64.b64decode(web.get(f"/get_output/{job_id}").json()["output"]) == b"0123456789"
    part.replace(path)
    part.parent.rmdir()
    assert web.get(f"/outputs/{job_id}").content == b"0123456789"


def test_an_output_in_whose_place_a_fifo_is_is_gone(web: Web) -> None:
    job_id = web.done()
    path = Path(web.job(job_id).output_path)
    path.unlink()
    os.mkfifo(path)
    assert web.get(f"/outputs/{job_id}").status_code == 410
    path.unlink()


# --- cancel ---


def test_a_queued_job_is_canceled(web: Web) -> None:
    job_id = web.submit()
    answer = web.post(f"/cancel/{job_id}")
    assert answer.status_code == 200
    assert (answer.json()["request_id"], answer.json()["status"]) == (job_id, "canceled")
    assert web.post(f"/cancel/{job_id}").status_code == 404


def test_without_an_id_the_oldest_running_job_is_canceled(web: Web) -> None:
    web.submit()
    older, newer = web.started(), web.started()
    answer = web.post("/cancel")
    assert answer.status_code == 200
    assert answer.json()["request_id"] == older
    assert web.post("/cancel").json()["request_id"] == newer
    assert web.post("/cancel").status_code == 404


def test_a_cancel_is_answered_when_the_ranks_have_left(web: Web) -> None:
    job_id = web.started()
    web.controller.leave_at_once = False
    timer = threading.Timer(0.5, web.controller.cancel, [job_id])
    began = time.monotonic()
    timer.start()
    answer = web.post(f"/cancel/{job_id}")
    timer.join()
    assert answer.status_code == 200
    assert 0.5 <= time.monotonic() - began < 3


def test_a_job_that_ends_before_the_cancel_takes_effect_is_shown_as_it_ended(web: Web) -> None:
    job_id = web.started()
    web.controller.leave_at_once = False
    timer = threading.Timer(0.2, web.controller.succeed, [job_id])
    timer.start()
    answer = web.post(f"/cancel/{job_id}")
    timer.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_there_is_nothing_to_cancel(web: Web) -> None:
    assert web.post("/cancel").status_code == 404
    assert web.post(f"/cancel/{UNKNOWN}").status_code == 404
    assert web.post(f"/cancel/{web.done()}").status_code == 404
    assert web.post("/cancel/zz").status_code == 404


# --- the server itself ---


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_server_status(web: Web, method: str) -> None:
    web.started()
    web.submit()
    answer = web.ask(method, "/server_status")
    assert answer.status_code == 200
    body = answer.json()
    assert body["groups"][0]["ranks"] == [
        {"rank": 0, "pid": 11, "device": "cpu"},
        {"rank": 1, "pid": 12, "device": "cpu"},
    ]
    assert body["groups"][0]["state"] == "ready"
    assert (body["queue"]["running"], body["queue"]["queued"]) == (1, 1)
    assert body["uptime_seconds"] >= 0
    assert body["versions"]["torch"] == "9.9"
    assert "para-attn-server" in body["versions"]


def test_the_schema_and_the_index(web: Web) -> None:
    assert web.get("/schema").json() == SCHEMA
    assert "POST /generate" in web.get("/").json()["endpoints"]
    assert web.get("/readyz").json() == {"status": "ready", "models": ["stand-in"]}


def test_unknown_routes_and_methods(web: Web) -> None:
    assert web.get("/nope").status_code == 404
    answer = web.get("/generate")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert web.ask("DELETE", f"/get_output/{UNKNOWN}").status_code == 405
    assert web.get("/cancel").status_code == 405


def test_without_a_controller_jobs_are_taken_and_the_status_says_so(web: Web) -> None:
    web.controller.vanish()
    wait_until(lambda: web.get("/server_status").status_code == 500, 5)
    assert web.post("/cancel").status_code == 503
    assert web.post(f"/cancel/{web.submit()}").status_code == 503
    web.new_controller()
    assert web.get("/server_status").status_code == 200


def test_a_file_that_is_not_the_one_that_was_meant_is_not_sent(web: Web) -> None:
    path = f"/outputs/{web.done(b'0123456789')}"
    etag = web.get(path).headers["etag"]
    assert web.get(path, headers={"If-Match": etag}).content == b"0123456789"
    assert web.get(path, headers={"If-Match": '"x"'}).status_code == 412


def test_any_file_is_the_one_that_was_meant_as_long_as_there_is_one(web: Web) -> None:
    job_id = web.done(b"0123456789")
    path, anything = f"/outputs/{job_id}", {"If-Match": "*"}
    answer = web.get(path, headers=anything)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert web.get(path, headers={**anything, "Range": "bytes=2-4"}).content == b"234"
    assert web.get(path, headers={**anything, "If-None-Match": answer.headers["etag"]}).status_code == 304
    Path(web.job(job_id).output_path).unlink()
    assert web.get(path, headers=anything).status_code == 410


@pytest.mark.parametrize(
    "ranges", ["items=0-1", "x", "Bytes=0-99", "bytes=0-1,3-4", "bytes=" + "0-1," * 900, "bytes=0-1,"]
)
def test_a_range_in_an_unknown_unit_or_of_several_parts_is_ignored(web: Web, ranges: str) -> None:
    answer = web.get(f"/outputs/{web.done(b'0123456789')}", headers={"Range": ranges})
    assert answer.status_code == (206 if ranges.startswith("Bytes") else 200)
    assert answer.content == b"0123456789"


@pytest.mark.parametrize("ranges", ["bytes=100-200", "bytes=a", "bytes=5-1", "bytes=-0"])
def test_a_range_that_cannot_be_given_is_416(web: Web, ranges: str) -> None:
    assert web.get(f"/outputs/{web.done(b'0123456789')}", headers={"Range": ranges}).status_code == 416


@pytest.mark.parametrize(
    "name", ["If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "Range", "Accept", "Cookie"]
)
@pytest.mark.parametrize("value", ["", "*", '"', "\xff", "a" * 8000, "bytes=" + "9" * 5000 + "-", "Mon, 99 Foo 0000"])
def test_no_header_of_no_sense_makes_a_mistake_of_the_server(web: Web, name: str, value: str) -> None:
    path = f"/outputs/{web.done(b'0123456789')}"
    assert web.get(path, headers={name: value.encode("latin-1")}).status_code in (200, 206, 304, 412, 416)


@pytest.mark.parametrize(
    ("ranges", "got"), [("bytes=-3", b"789"), ("bytes=-10", b"0123456789"), ("bytes=-1000", b"0123456789")]
)
def test_the_last_bytes_are_all_where_there_are_no_more(web: Web, ranges: str, got: bytes) -> None:
    answer = web.get(f"/outputs/{web.done(b'0123456789')}", headers={"Range": ranges})
    assert (answer.status_code, answer.content) == (206, got)
