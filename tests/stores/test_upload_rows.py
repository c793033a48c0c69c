"""What every JobStore must do with uploads: know them by their owner, keep them while they are used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from para_attn_server.core.errors import UploadNotFound
from para_attn_server.core.job import JobStatus, NewJob
from para_attn_server.core.uploads import Upload
from para_attn_server.stores.base import JobStore

A, B, C = "a" * 64, "b" * 64, "c" * 64
HOUR = 3600.0


def upload(digest: str, owner: str = "anonymous", at: float = 1.0) -> Upload:
    return Upload(digest, "image/png", "image", 2**33, 4, 5, None, 1.5, owner, at)


def add(store: JobStore, *digests: str, owner: str = "anonymous") -> str:
    return store.insert(NewJob({}, "/out/a.png", inputs=digests, owner=owner), 10, 1.0).id


def removed(store: JobStore, moment: float = 0.0, limit: int = 100) -> tuple[int, list[str]]:
    """How many uploads were removed, and which files."""
    files: list[str] = []
    count = store.remove_uploads(moment, moment, limit, files.append)
    return count, sorted(files)


def test_an_upload_is_known_to_its_owner_alone(store: JobStore) -> None:
    store.put_upload(upload(A, "ann\0"))
    assert store.upload("ann\0", A) == upload(A, "ann\0")
    assert store.upload("ben", A) is None and store.upload("ann\0", B) is None
    with pytest.raises(UploadNotFound):
        add(store, A, owner="ben")
    assert store.counts().queued == 0


def test_a_job_keeps_its_inputs_in_order(store: JobStore) -> None:
    for digest in (A, B):
        store.put_upload(upload(digest))
    job_id = add(store, B, A, B)
    job = store.get(job_id)
    assert job is not None and job.inputs == (B, A, B)


def test_an_unused_upload_goes_after_its_time(store: JobStore) -> None:
    store.put_upload(upload(A, at=1.0))
    store.put_upload(upload(B, at=2.0))
    assert removed(store, 1.0) == (0, [])
    assert removed(store, 1.5) == (1, [A])
    assert store.upload("anonymous", A) is None and store.upload("anonymous", B) == upload(B, at=2.0)


def test_a_used_upload_goes_with_its_last_job(store: JobStore) -> None:
    store.put_upload(upload(A))
    first, second = add(store, A), add(store, A)
    for job_id in (first, second):
        store.cancel(job_id, 2.0)
        assert removed(store, HOUR) == (0, [])
        store.delete([job_id])
    assert removed(store) == (1, [A])


def test_what_is_sent_again_is_as_new(store: JobStore) -> None:
    store.put_upload(upload(A))
    job_id = add(store, A)
    store.put_upload(upload(A, at=5.0))
    store.cancel(job_id, 2.0)
    store.delete([job_id])
    assert removed(store, 4.0) == (0, [])
    assert removed(store, 6.0) == (1, [A])


def test_a_file_stays_while_another_owner_has_it(store: JobStore) -> None:
    store.put_upload(upload(A, "ann"))
    store.put_upload(upload(A, "ben", at=9.0))
    assert removed(store, 5.0) == (1, [])
    assert removed(store, 10.0) == (1, [A])


def test_both_clocks_must_agree_that_an_upload_is_old(open_store: Callable[..., JobStore]) -> None:
    store = open_store(steady=lambda: 100.0)
    store.put_upload(upload(A, at=1.0))
    assert store.remove_uploads(50.0, 50.0, 9, lambda _: None) == 0
    assert store.remove_uploads(50.0, 101.0, 9, lambda _: None) == 1


def test_no_more_than_the_limit_is_removed_at_once(store: JobStore) -> None:
    for digest in (A, B, C):
        store.put_upload(upload(digest))
    assert removed(store, 2.0, limit=2)[0] == 2
    assert removed(store, 2.0, limit=2)[0] == 1


def test_an_upload_whose_file_stays_is_not_forgotten(store: JobStore) -> None:
    def fails(_digest: str) -> None:
        raise OSError("read-only")

    store.put_upload(upload(A))
    with pytest.raises(OSError, match="read-only"):
        store.remove_uploads(2.0, 2.0, 9, fails)
    assert store.upload("anonymous", A) == upload(A)


def test_another_handle_sees_it(open_store: Callable[..., JobStore]) -> None:
    controllers, webs = open_store(), open_store()
    webs.put_upload(upload(A))
    job_id = add(webs, A)
    assert controllers.queued(9)[0].inputs == (A,)
    assert controllers.start(job_id, 0, 1.0).status is JobStatus.RUNNING
