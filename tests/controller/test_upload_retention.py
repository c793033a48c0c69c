"""When uploads and their files are removed, over a real folder and a store in memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from para_attn_server import MemoryStore
from para_attn_server.controller import uploads as module
from para_attn_server.controller.uploads import AT_ONCE, LOOK_EVERY, UploadRetention
from para_attn_server.core.errors import InsufficientStorage, NotAccepting, UploadTooLarge
from para_attn_server.core.job import NewJob
from para_attn_server.core.uploads import FOLDER, UNUSED_FOR, Upload, input_path
from para_attn_server.inputs.folder import LEFT_BEHIND, InputFolder
from para_attn_server.stores.uploads import store_key

KEY = "ab"


@pytest.fixture
def folder(tmp_path: Path) -> InputFolder:
    return InputFolder(tmp_path, KEY, 100)


def keep(store: MemoryStore, folder: InputFolder, data: bytes, age: float = 0.0) -> str:
    with folder.receive([data[:3], data[3:]]) as received:
        upload = Upload(received.digest, "image/png", "image", received.size, created_at=time.time() - age)
        store.put_upload(upload)
        folder.place(received)
    return upload.digest


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store in memory has no clock of its own: both are the wall's."""
    monkeypatch.setattr(module.clock, "steady", time.time)


def test_an_old_upload_goes_with_its_file(tmp_path: Path, folder: InputFolder) -> None:
    store = MemoryStore()
    old, new = keep(store, folder, b"old", UNUSED_FOR + 1), keep(store, folder, b"new", UNUSED_FOR - 60)
    retention = UploadRetention(store, folder)
    retention.tick(0.0)
    assert not input_path(tmp_path, KEY, old).exists() and input_path(tmp_path, KEY, new).read_bytes() == b"new"
    assert (store.upload("anonymous", old), folder.has(old)) == (None, False)
    assert store.upload("anonymous", new) is not None and folder.has(new)


def test_a_used_upload_stays_as_long_as_its_job(folder: InputFolder) -> None:
    store, retention = MemoryStore(), UploadRetention(MemoryStore(), folder)
    retention = UploadRetention(store, folder)
    digest = keep(store, folder, b"used", UNUSED_FOR + 1)
    job = store.insert(NewJob({}, "/out/a.png", inputs=(digest,)), 9, 1.0)
    retention.tick(0.0)
    assert folder.has(digest)
    store.cancel(job.id, 2.0)
    store.delete([job.id])
    retention.tick(LOOK_EVERY - 1)
    assert folder.has(digest), "it is not time yet"
    retention.tick(LOOK_EVERY)
    assert not folder.has(digest)


def test_many_go_one_look_after_the_other(folder: InputFolder) -> None:
    store = MemoryStore()
    digests = [keep(store, folder, b"%d" % n, UNUSED_FOR + 1) for n in range(AT_ONCE + 1)]
    retention = UploadRetention(store, folder)
    retention.tick(0.0)
    assert sum(map(folder.has, digests)) == 1
    retention.tick(0.0)
    assert not any(map(folder.has, digests))


def test_an_upload_whose_file_stays_is_tried_again(
    tmp_path: Path, folder: InputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    digest = keep(store, folder, b"old", UNUSED_FOR + 1)
    retention = UploadRetention(store, folder)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "unlink", lambda _digest: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        retention = UploadRetention(store, folder)
        retention.tick(0.0)
    assert store.upload("anonymous", digest) is not None
    retention = UploadRetention(store, folder)
    retention.tick(0.0)
    assert store.upload("anonymous", digest) is None and not input_path(tmp_path, KEY, digest).exists()


def test_what_a_killed_web_worker_has_left_is_swept_away(tmp_path: Path, folder: InputFolder) -> None:
    keep(MemoryStore(), folder, b"new")
    old, new = (tmp_path / FOLDER / KEY / f".{n * 32}.part" for n in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, time.time() - LEFT_BEHIND - 1))
    UploadRetention(MemoryStore(), folder).tick(0.0)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_is_received_and_not_placed_is_gone(tmp_path: Path, folder: InputFolder) -> None:
    with folder.receive([b"abc"]) as received:
        assert received.path.read_bytes() == b"abc"
    assert list((tmp_path / FOLDER / KEY).iterdir()) == []
    with pytest.raises(UploadTooLarge), folder.receive([b"a" * 60] * 2):
        pass
    assert list((tmp_path / FOLDER / KEY).iterdir()) == []


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotAccepting, match="No such file"), InputFolder(tmp_path / "none", KEY, 9).receive([b"a"]):
        pass
    with pytest.raises(InsufficientStorage), InputFolder(tmp_path, KEY, 9, min_free=2**62).receive([b"a"]):
        pass


def test_a_file_that_comes_again_takes_the_place_of_its_like(tmp_path: Path, folder: InputFolder) -> None:
    store = MemoryStore()
    digest = keep(store, folder, b"same")
    input_path(tmp_path, KEY, digest).unlink()
    assert keep(store, folder, b"same") == digest
    assert keep(store, folder, b"same") == digest
    assert input_path(tmp_path, KEY, digest).read_bytes() == b"same"


def test_servers_that_share_an_output_root_do_not_share_files(tmp_path: Path) -> None:
    ours, theirs = MemoryStore(), MemoryStore()
    assert store_key(ours) == store_key(ours.another()) != store_key(theirs)
    folders = [InputFolder(tmp_path, store_key(store), 100) for store in (ours, theirs)]
    digest = keep(ours, folders[0], b"same", UNUSED_FOR + 1)
    assert keep(theirs, folders[1], b"same") == digest
    UploadRetention(ours, folders[0]).tick(0.0)
    assert [folder.has(digest) for folder in folders] == [False, True]
