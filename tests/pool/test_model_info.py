"""What the store remembers of the models, and for whom."""

from __future__ import annotations

from typing import Any

import pytest

from para_attn_server.core.errors import StateDirError
from para_attn_server.core.job import Job, NewJob
from para_attn_server.core.wire.ranks import Ready
from para_attn_server.pool.model_info import FORMER_DOCUMENT, Identity, ModelInfoWriter
from para_attn_server.stores.base import MODELS_DOCUMENT
from para_attn_server.stores.sql import SqlStore

READY = Ready(0, "cpu", {"type": "object"}, {}, ".mp4")
DEMO, FLUX = Identity("demo", "demo", "1"), Identity("flux", "flux with /weights", "1")


def entries(store: SqlStore) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in (store.document(MODELS_DOCUMENT) or {"models": []})["models"]}


def claimed(store: SqlStore, *models: Identity) -> ModelInfoWriter:
    writer = ModelInfoWriter(models)
    writer.claim(store)
    return writer


def queued(store: SqlStore, model: str | None) -> Job:
    return store.insert(NewJob({}, "/o", model=model), 10, 0.0)


def test_each_models_schema_is_known_again_after_a_restart(store: SqlStore) -> None:
    writer = claimed(store, DEMO, FLUX)
    assert [entry["schema"] for entry in entries(store).values()] == [None, None]
    writer.reported(store, "flux", READY)
    claimed(store, FLUX, DEMO)
    assert list(entries(store)) == ["flux", "demo"], "the default one is the first"
    assert entries(store)["flux"]["schema"] == READY.schema and entries(store)["demo"]["schema"] is None


@pytest.mark.parametrize("other", [Identity("demo", "my.py:Demo", "1"), Identity("demo", "demo", "2")])
def test_another_model_or_version_of_the_name_forgets_it(store: SqlStore, other: Identity) -> None:
    claimed(store, DEMO).reported(store, "demo", READY)
    claimed(store, other)
    assert entries(store)["demo"]["schema"] is None


def test_jobs_are_not_given_to_another_model_of_the_same_name(store: SqlStore) -> None:
    other = Identity("demo", "my.py:Demo", "1")
    claimed(store, DEMO)
    queued(store, "demo")
    with pytest.raises(StateDirError, match=r"1 unfinished job\(s\) of another model \(demo\)"):
        claimed(store, other)
    claimed(store, FLUX)  # between: the jobs wait, and it is not forgotten for which model
    with pytest.raises(StateDirError, match=r"1 unfinished job\(s\) of another model \(demo\)"):
        claimed(store, FLUX, other)
    claimed(store, Identity("demo", "demo", "2"))
    assert store.counts().queued == 1


def test_a_model_that_is_not_served_any_more_is_known_as_long_as_jobs_wait_for_it(store: SqlStore) -> None:
    claimed(store, DEMO, FLUX).reported(store, "flux", READY)
    job = queued(store, "flux")
    writer = claimed(store, DEMO)
    assert not entries(store)["flux"]["served"] and entries(store)["demo"]["served"]
    assert writer.name_of(job) == "flux" and not writer.serves("flux")
    claimed(store, FLUX, DEMO)
    assert entries(store)["flux"]["served"] and entries(store)["flux"]["schema"] == READY.schema
    store.cancel(job.id, 1.0)
    claimed(store, DEMO)
    assert list(entries(store)) == ["demo"]


def test_what_a_server_with_one_model_has_left_is_taken_over(store: SqlStore) -> None:
    counting = Identity("counting", "/x/counting.py:CountingPredictor", "1")
    known = {"schema": {"type": "object"}, "output_suffix": ".txt"}
    store.put_document(FORMER_DOCUMENT, {"model": counting.words, "version": "1", **known})
    jobs = queued(store, "counting:CountingPredictor"), queued(store, None)
    with pytest.raises(StateDirError, match="2 unfinished"):
        claimed(store, DEMO)
    writer = claimed(store, counting, DEMO)
    assert entries(store)["counting"]["schema"] == known["schema"]
    assert {writer.name_of(job) for job in jobs} == {"counting"}
