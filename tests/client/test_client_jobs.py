"""Lists of jobs, one job whole, deletion, and all outputs of a job, by the client and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scripted import Answer, ScriptedServer, scripted_server

from para_attn_server.cli import generate, jobs
from para_attn_server.client import Client, InvalidArgument, RequestRefused, ServerUnavailable
from para_attn_server.client.options import headers

JOB: dict[str, Any] = {
    "request_id": "ab",
    "status": "succeeded",
    "model": "m",
    "step": 0,
    "total_steps": None,
    "created_at": 1.0,
    "started_at": 2.0,
    "finished_at": 4.0,
    "error": None,
    "output_removed": None,
    "outputs": [{"output_path": f"/out/{name}"} for name in ("a.png", "b.mp4", "c.txt")],
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running_server:
        yield running_server


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.url, timeout=5, retry_for=0) as one:
        yield one


def page(*ids: str, after: str | None = None) -> Answer:
    return Answer(200, {"jobs": [{**JOB, "request_id": each} for each in ids], "next_cursor": after})


def ids(found: Any) -> list[str]:
    return [job["request_id"] for job in found]


def test_a_list_is_asked_for_page_by_page(server: ScriptedServer, client: Client) -> None:
    server.says(page("c", "b", after="x"), page("a"))
    assert ids(client.jobs(status="failed", created_after=1.5)) == ["c", "b", "a"]
    assert [path for _, path, _ in server.requests] == [
        "/jobs?status=failed&created_after=1.5&limit=100",
        "/jobs?status=failed&created_after=1.5&cursor=x&limit=100",
    ]


def test_no_more_is_asked_for_than_is_wanted(server: ScriptedServer, client: Client) -> None:
    server.says(page("c", "b", after="x"), page("a", after="y"))
    assert ids(client.jobs(3)) == ["c", "b", "a"]
    assert [path for _, path, _ in server.requests] == ["/jobs?limit=3", "/jobs?cursor=x&limit=1"]


def test_filters_are_checked_by_name(client: Client) -> None:
    wrong: list[Any] = [{"state": "failed"}, {"created_after": datetime(2030, 1, 1)}, {"status": None}]
    for filters in wrong:
        with pytest.raises(InvalidArgument, match=next(iter(filters))):
            next(client.jobs(**filters))


def test_a_moment_has_its_zone(server: ScriptedServer, client: Client) -> None:
    server.says(page())
    assert ids(client.jobs(created_before=datetime(2030, 1, 31, 12, tzinfo=UTC))) == []
    assert server.requests[0][1] == "/jobs?created_before=2030-01-31T12%3A00%3A00%2B00%3A00&limit=100"


def test_a_job_is_read_whole_and_deleted(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(200, {**JOB, "arguments": {}}), Answer(200, {"request_id": "ab", "deleted": True}))
    assert client.job("ab")["arguments"] == {}
    client.delete("ab")
    assert [(method, path) for method, path, _ in server.requests] == [("GET", "/jobs/ab"), ("DELETE", "/jobs/ab")]


def test_a_refused_deletion_is_raised_and_a_broken_one_is_not_repeated(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(409, {"title": "The job has not ended", "detail": "cancel it first"}), Answer(0))
    with pytest.raises(RequestRefused, match="cancel it first"):
        client.delete("ab")
    with pytest.raises(ServerUnavailable):
        client.delete("ab")
    assert len(server.requests) == 2


def file(name: str) -> Answer:
    return Answer(200, name.encode(), {"Content-Disposition": f"inline; filename={name}"})


@pytest.mark.parametrize(
    ("where", "names"),
    [("star.png", ["star.png", "star-1.mp4", "star-2.txt"]), ("", ["ab.png", "ab-1.mp4", "ab-2.txt"])],
)
def test_every_output_is_saved_beside_the_first(
    server: ScriptedServer, client: Client, tmp_path: Path, where: str, names: list[str]
) -> None:
    server.says(Answer(202, {"request_id": "ab"}), Answer(200, JOB), file("a.png"), file("b.mp4"), file("c.txt"))
    client.generate(tmp_path / where, prompt="a star")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [(tmp_path / name).read_bytes() for name in names] == [b"a.png", b"b.mp4", b"c.txt"]
    assert [path for _, path, _ in server.requests[2:]] == ["/outputs/ab", "/outputs/ab/1", "/outputs/ab/2"]


def test_nothing_is_saved_beside_a_device(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(200, JOB), file("a.png"))
    assert client.save_all("ab", "/dev/null") == [Path("/dev/null")]


def test_notes_are_sent_as_json() -> None:
    assert json.loads(headers({"metadata": {"name": "\u00fc", "n": (1,)}})["Job-Metadata"]) == {
        "name": "\u00fc",
        "n": [1],
    }
    wrong: list[Any] = ["text", {"at": datetime(2030, 1, 1)}, {"n": float("nan")}]
    for notes in wrong:
        with pytest.raises(InvalidArgument, match="metadata"):
            headers({"metadata": notes})


# --- commands ---


def test_the_command_lists_jobs(server: ScriptedServer) -> None:
    failed = {**JOB, "status": "failed", "error": {"type": "ValueError", "message": "too blue"}, "outputs": []}
    server.says(Answer(200, {"jobs": [{**JOB, "request_id": "cd"}, failed], "next_cursor": None}))
    shown = CliRunner().invoke(jobs.command, ["--url", server.url, "--status", "failed", "--limit", "2"])
    assert server.requests[0][1] == "/jobs?status=failed&limit=2"
    title, done, broken = shown.output.splitlines()
    assert title.split()[:2] == ["job", "status"]
    assert done.split()[:3] == ["cd", "succeeded", "m"] and "2.0 s" in done and done.rstrip().endswith("/out/a.png")
    assert broken.rstrip().endswith("ValueError: too blue")


def test_the_command_prints_the_servers_json(server: ScriptedServer) -> None:
    server.says(page("ab"), page())
    assert json.loads(CliRunner().invoke(jobs.command, ["--url", server.url, "--json"]).output) == [JOB]
    assert CliRunner().invoke(jobs.command, ["--url", server.url]).output == "no jobs\n"


def test_generate_takes_notes_as_json(server: ScriptedServer) -> None:
    wrong = CliRunner().invoke(generate.command, ["a", "--metadata", "[1]", "--url", server.url])
    assert wrong.exit_code == 2 and "must be a JSON object" in wrong.output
    assert generate._notes(None, None, '{"a": 1}') == {"a": 1}  # type: ignore[arg-type]
