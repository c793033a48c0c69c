"""What every JobStore keeps of a job beside its life: whose it is, how urgent, its runs, its outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from runs import run_of

from para_attn_server.core.job import ANONYMOUS, NATIVE, Job, NewJob, Output, Priority, Result
from para_attn_server.core.uploads import Upload
from para_attn_server.stores.base import JobStore

WIDE = NewJob(
    {"prompt": "a star"},
    "/out/2026/a.png",
    seed=[1, 2],
    output_root="/out",
    model="fl\udcffx.py:Flux",
    priority=Priority.HIGH,
    owner="key:7",
    api="openai",
    deadline=90.0,
    target=12.5,
    metadata={"order": {"number": [7]}, "note": "\u00fc"},
    webhook={"url": "http://127.0.0.1/done", "events": ["completed"]},
    inputs=("ab" * 32, "cd" * 32),
)


def succeeded(store: JobStore, new: NewJob, output: Output) -> Job:
    store.insert(new, 10, 1.0)
    store.start(new.id, 0, 2.0)
    return store.succeed(new.id, Result((output,)), 3.0, run=run_of(store, new.id))


def upload_inputs(store: JobStore) -> None:
    """What the wide job takes."""
    for digest in WIDE.inputs:
        store.put_upload(Upload(digest, "image/png", "image", 1, owner=WIDE.owner))


def test_what_is_said_of_a_job_reads_back_as_it_was_given(store: JobStore) -> None:
    upload_inputs(store)
    job = store.insert(WIDE, 10, 1.0)
    assert (job.model, job.priority, job.owner, job.api) == ("fl\udcffx.py:Flux", Priority.HIGH, "key:7", "openai")
    assert (job.target, job.deadline, job.output_root) == (12.5, 90.0, "/out")
    assert (job.metadata, job.webhook, job.inputs) == (WIDE.metadata, WIDE.webhook, WIDE.inputs)
    assert [store.get(job.id)] == [job] == store.queued(1)
    started = store.start(job.id, 0, 2.0, "a controller")
    assert store.running() == [started]
    assert started.target == 12.5 and started.priority is Priority.HIGH


def test_nothing_need_be_said_of_a_job(store: JobStore) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    assert (job.model, job.priority, job.owner, job.api) == (None, Priority.NORMAL, ANONYMOUS, NATIVE)
    said = (job.target, job.metadata, job.webhook, job.inputs, job.outputs, job.applied, job.timings, job.peak_memory)
    assert said == (None, None, None, (), (), None, None, None)
    assert store.get(job.id) == job


SEEDS = [0, -1, 2**53 + 1, 2**63 - 1, 2**63, 13760858940225998219, 2**64 - 1, 2**200, 1.0, 0.5, True, "7", "1e5", "x"]


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_a_seed_reads_back_as_it_was_given(store: JobStore, seed: Any) -> None:
    job = store.insert(NewJob({"seed": seed}, "/out/a.png", seed=seed), 10, 1.0)
    started = store.start(job.id, 0, 2.0)
    for found in (job.seed, started.seed, store.arguments(job.id)["seed"]):
        assert (type(found), found) == (type(seed), seed)


def test_priorities_are_in_order() -> None:
    assert sorted(Priority, reverse=True) == [Priority.HIGH, Priority.NORMAL, Priority.LOW]


def test_what_is_read_of_a_job_is_a_copy(store: JobStore) -> None:
    upload_inputs(store)
    new = replace(WIDE, metadata={"order": {"number": [7]}})
    job = store.insert(new, 10, 1.0)
    kept = store.get(job.id)
    for read in (new, job, store.get(job.id), store.queued(1)[0], store.start(job.id, 0, 2.0), store.running()[0]):
        assert read and read.metadata
        read.metadata["order"]["number"].append(8)
    again = store.get(job.id)
    assert kept and again and again.metadata == {"order": {"number": [7]}} and again.seed == kept.seed == [1, 2]


def test_every_start_is_a_run_whether_it_is_charged_or_not(store: JobStore) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    assert (job.run, job.controller) == (0, None)
    for number in range(1, 4):
        started = store.start(job.id, 0, 2.0, f"controller {number}")
        assert (started.run, started.controller, started.attempts) == (number, f"controller {number}", 1)
        job = store.requeue(job.id, "restart", False, 3.0, run=run_of(store, job.id))
        assert (job.run, job.controller, job.attempts) == (number, None, 0)


@pytest.mark.parametrize("root", ["/out", "/", None, "/elsewhere", "/ou"])
@pytest.mark.parametrize("path", ["/out/2026/a.png", "/out/\udcff.png", "/\u00fc.png"])
def test_an_output_reads_back_wherever_it_is(store: JobStore, root: str | None, path: str) -> None:
    output = Output(path, "video/mp4", 2**40, "ab" * 32, 2**64 - 3, 2**60, "video", 1280, 720, 5.25)
    job = succeeded(store, NewJob({}, path, output_root=root), output)
    assert job.outputs == (output,) and job.output == output
    assert store.get(job.id) == job
    assert store.ended_before(9.0, 9) == {job.id: (output,)}


def test_what_a_run_has_used_reads_back_as_it_was_given(store: JobStore) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    started = store.start(job.id, 0, 2.0)
    applied, timings = {"seed": 2**63, "plan": {"ulysses": 2}}, {"queue": 0.5, "decode": None}
    outputs = tuple(Output(f"/out/{name}.png", "image/png", 3, "ab" * 32, role=name) for name in "cab")
    done = store.succeed(job.id, Result(outputs, applied, timings, 2**40), 3.0, run=started.run_id)
    applied["plan"] = timings["queue"] = None
    assert (done.applied, done.timings) == ({"seed": 2**63, "plan": {"ulysses": 2}}, {"queue": 0.5, "decode": None})
    assert (done.peak_memory, done.outputs) == (2**40, outputs)
    assert store.get(job.id) == done
    other = store.cancel(store.insert(NewJob({}, "/out/a.png"), 10, 1.0).id, 2.5)
    assert store.ended_before(9.0, 9) == {other.id: (), job.id: outputs}
    assert store.ended_before(9.0, 1) == {other.id: ()}
    assert store.events(job.id)[-1].data == {"media_type": "image/png", "size": 3, "sha256": "ab" * 32}


def test_the_outputs_of_a_removed_job_go_with_it(store: JobStore) -> None:
    output = Output("/out/a.png", "image/png", 3, "ab" * 32)
    job = succeeded(store, NewJob({}, "/out/a.png"), output)
    store.delete([job.id])
    assert store.get(job.id) is None and store.ended_before(9.0, 9) == {}
    again = succeeded(store, NewJob({}, "/out/b.png", id=job.id), replace(output, path="/out/b.png"))
    assert again.outputs == (replace(output, path="/out/b.png"),) == (store.get(job.id) or again).outputs
