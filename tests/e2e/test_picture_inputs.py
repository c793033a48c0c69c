"""Pictures from a request to predict on every rank, and their end: over a real server with two ranks."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import bomb, picture, turned
from PIL import Image
from serving import RunningServer
from waiting import wait_until

from para_attn_server import Client, InvalidArgument, RequestRefused
from para_attn_server.core.uploads import FOLDER, input_path

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = turned()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root."""
    return tmp_path_factory.mktemp("inputs") / "outputs"


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[RunningServer]:
    """A server of the example."""
    settings = {"state_dir": root.parent / "state", "output_dir": root, "max_pixels": 10_000}
    server = RunningServer(f"{EXAMPLES / 'variations.py'}:Variations", settings)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


def four(server: RunningServer, job_id: str) -> list[Image.Image]:
    """The outputs of a job that has succeeded."""
    assert server.result(job_id).status_code == 200
    return [Image.open(io.BytesIO(server.get(f"/outputs/{job_id}/{index}").content)) for index in range(4)]


def test_a_form_makes_four_pictures_of_one(server: RunningServer) -> None:
    answer = server.post("/generate", files={"image": ("photo.jpg", PHOTO)}, data={"side": "64"})
    assert answer.status_code == 202, answer.text
    mirrored, upside_down, gray, inverted = four(server, answer.json()["request_id"])
    assert mirrored.size == (32, 64) and gray.mode == "L"
    red, blue = upside_down.convert("RGB").getpixel((16, 56)), upside_down.convert("RGB").getpixel((16, 8))
    assert red[0] > 150 > red[2] and blue[2] > 150 > blue[0]  # type: ignore[index]
    assert inverted.convert("RGB").getpixel((16, 8))[0] < 100  # type: ignore[index]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("send", ["form", "upload", "inline"])
def test_curl(server: RunningServer, tmp_path: Path, send: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    done = subprocess.run(
        ["sh", EXAMPLES / "variations.sh", tmp_path / "photo.jpg", tmp_path / "made"],
        env={**os.environ, "PARA_ATTN_SERVER_URL": server.url, "SEND": send},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = [Path(line) for line in done.stdout.splitlines()]
    assert [Image.open(path).size for path in made] == [(64, 128)] * 4


def test_the_client_uploads_by_itself(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    with Client(server.url) as client:
        status = client.generate(tmp_path / "made.png", image=tmp_path / "photo.jpg", side=64)
        assert sorted(path.name for path in tmp_path.glob("made*")) == [
            "made-1.png",
            "made-2.png",
            "made-3.png",
            "made.png",
        ]
        upload = client.upload(PHOTO)
        assert upload == client.upload(tmp_path / "photo.jpg") | {"created_at": upload["created_at"]}
        assert client.job(status["request_id"])["arguments"]["image"] == upload["id"]
        assert client.generate(image=PHOTO, side=64)["sha256"] == status["sha256"]
        with pytest.raises(InvalidArgument, match="side takes no file; files go to image"):
            client.submit(side=tmp_path / "photo.jpg")
        with pytest.raises(RequestRefused, match="it is no PNG"):
            client.upload(b"no picture")


def test_the_command_uploads_a_file(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    command = [sys.executable, "-m", "para_attn_server", "generate", "--url", server.url]
    done = subprocess.run(
        [*command, "image=@photo.jpg", "-o", "a.png"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "saved a.png, a-1.png, a-2.png, a-3.png\n", done.stderr


def test_what_ranks_cannot_decode_is_invalid_input_and_keeps_the_group(server: RunningServer) -> None:
    ranks = server.group()["ranks"]
    noise = Image.effect_noise((64, 64), 90)
    whole = io.BytesIO()
    noise.save(whole, "PNG")
    for data in (whole.getvalue()[:-1000], turned()[:-200]):
        answer = server.post("/generate", files={"image": ("a", data)})
        failed = server.result(answer.json()["request_id"])
        assert failed.status_code == 500
        assert failed.json()["error"]["type"] == "invalid_input"
        assert failed.json()["error"]["message"].startswith("image: the file is damaged or cut off")
    assert server.post("/generate", files={"image": ("a", bomb())}).status_code == 400
    assert server.group()["ranks"] == ranks


def test_a_file_goes_with_the_last_job_that_uses_it(server: RunningServer, root: Path) -> None:
    data = picture(size=(50, 50))
    digest = hashlib.sha256(data).hexdigest()
    jobs = [server.post("/generate", files={"image": ("a", data)}).json()["request_id"] for _ in range(2)]
    (folder,) = (root / FOLDER).iterdir()
    path = input_path(root, folder.name, digest)
    for job_id in jobs:
        assert server.result(job_id).status_code == 200
        assert server.get(f"/jobs/{job_id}").json()["arguments"]["image"] == digest
    server.request("DELETE", f"/jobs/{jobs[0]}")
    unused = server.post("/uploads", content=picture(size=(60, 60))).json()["id"]
    server.request("DELETE", f"/jobs/{jobs[1]}")
    wait_until(lambda: not path.exists(), 20, "the file to be removed")
    assert server.get(f"/uploads/{digest}").status_code == 404
    assert server.get(f"/uploads/{unused}").status_code == 200
    assert not [each.name for each in folder.iterdir() if each.is_file()]
