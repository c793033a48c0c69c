"""What the state directory remembers of the model, and for whom."""

from __future__ import annotations

import pytest

from para_attn_server.core.errors import StateDirError
from para_attn_server.core.job import NewJob
from para_attn_server.core.wire.ranks import Ready
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.stores.base import SCHEMA_DOCUMENT
from para_attn_server.stores.sql import SqlStore

READY = Ready(0, "cpu", {"type": "object"}, {}, ".mp4")


def schema(store: SqlStore) -> object:
    return (store.document(SCHEMA_DOCUMENT) or {}).get("schema")


def test_the_schema_is_known_again_after_a_restart_with_the_same_model(store: SqlStore) -> None:
    ModelInfoWriter("demo", "1").claim(store)
    assert schema(store) is None
    ModelInfoWriter("demo", "1").reported(store, READY)
    ModelInfoWriter("demo", "1").claim(store)
    assert schema(store) == {"type": "object"}


@pytest.mark.parametrize(("model", "version"), [("flux", "1"), ("demo", "2")])
def test_another_model_or_version_forgets_it(store: SqlStore, model: str, version: str) -> None:
    ModelInfoWriter("demo", "1").reported(store, READY)
    ModelInfoWriter(model, version).claim(store)
    assert schema(store) is None


def test_jobs_that_wait_for_another_model_are_not_taken_over(store: SqlStore) -> None:
    ModelInfoWriter("demo", "1").reported(store, READY)
    store.insert(NewJob({}, "/o"), 10, 0.0)
    with pytest.raises(StateDirError, match=r"1 unfinished job\(s\) of another model \(demo\)"):
        ModelInfoWriter("flux", "1").claim(store)
    ModelInfoWriter("demo", "2").claim(store)
    assert store.counts().queued == 1
