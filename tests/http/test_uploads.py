"""POST /uploads and the files of POST /generate, over the real web: what is kept, what is refused, what jobs get."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from media import animated, bomb, film, picture, turned
from pydantic import Field
from waiting import wait_until
from web import Web

from para_attn_server import ImageInput, VideoInput
from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.uploads import FOLDER, input_path
from para_attn_server.stores.uploads import store_key

PNG = picture()
ID = hashlib.sha256(PNG).hexdigest()
MAX_UPLOAD = 200_000


def predict(
    image: ImageInput,
    mask: ImageInput | None = None,
    references: Annotated[list[ImageInput], Field(max_length=3)] = [],  # noqa: B006 - a schema's default
    clip: VideoInput | None = None,
    prompt: str = "a",
    steps: int = 4,
    fast: bool = False,
    sizes: list[int] = [],  # noqa: B006
    raw: bytes = b"",
    others: list[ImageInput] | None = None,
    seed: int = 0,
) -> None:
    """A predictor that takes pictures."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(
        tmp_path_factory.mktemp("uploads"),
        max_upload=MAX_UPLOAD,
        max_body=300_000,
        max_pixels=10_000,
        request_timeout=2,
    )
    web.put_schema(request_schema(arguments_model(predict)))
    wait_until(lambda: "mask" in web.get("/schema").text, 5, "the schema")
    yield web
    web.close()


@pytest.fixture
def web(shared: Web) -> Iterator[Web]:
    yield shared
    for job in shared.controller.store.queued(100):
        shared.controller.cancel(job.id)


def kept(web: Web) -> set[str]:
    """The files below the folder of uploads."""
    return {path.name for path in (web.settings.output_dir / FOLDER).rglob("*") if path.is_file()}


def file_of(web: Web, digest: str) -> Path:
    """Where the web keeps a file."""
    return input_path(web.settings.output_dir, store_key(web.controller.store), digest)


def arguments(web: Web, answer: Any) -> dict[str, Any]:
    """What the job of an answer is to run with."""
    assert answer.status_code == 202, answer.text
    return web.controller.store.arguments(answer.json()["request_id"])


def wrong(answer: Any, status: int = 400) -> dict[str, str]:
    """What is wrong, by pointer."""
    assert answer.status_code == status, answer.text
    return {each["pointer"]: each["detail"] for each in answer.json()["errors"]}


def test_an_upload_is_described_by_its_header(web: Web) -> None:
    answer = web.post("/uploads", content=PNG, headers={"Content-Type": "text/html"})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/uploads/{ID}"
    body = answer.json()
    assert time.time() - 60 < body.pop("created_at") <= time.time()
    size = {"size": len(PNG), "width": 40, "height": 20, "frames": 1, "duration": None}
    assert body == {"id": ID, "kind": "image", "media_type": "image/png", **size}
    assert web.get(answer.headers["location"]).json()["id"] == ID
    assert file_of(web, ID).read_bytes() == PNG


def test_a_form_sends_the_same_upload(web: Web) -> None:
    answer = web.post("/uploads", files={"content": ("../../a.html", PNG, "text/html")}, data={"note": "x"})
    assert answer.status_code == 201 and answer.json()["id"] == ID
    assert wrong(web.post("/uploads", files=[("a", ("a", PNG)), ("b", ("b", PNG))])).keys() == {"#/file"}


@pytest.mark.parametrize(("frames", "data"), [(5, animated()), (1, turned())], ids=["animated", "turned"])
def test_frames_and_pixels_are_as_they_are_stored(web: Web, frames: int, data: bytes) -> None:
    body = web.post("/uploads", content=data).json()
    assert (body["frames"], body["width"], body["height"]) == (frames, 40, 20)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is no PNG"),
        (b"<html><script>alert(1)</script>", "it is no PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is no PNG"),
        (b"#EXTM3U\nfile:///etc/passwd", "it is no PNG"),
        (PNG[:20], "damaged"),
        (bomb(), "60000 x 60000 pixels are more than 10000"),
    ],
)
def test_what_is_no_media_is_refused_and_not_kept(web: Web, data: bytes, says: str) -> None:
    before = kept(web)
    assert says in wrong(web.post("/uploads", content=data))["#"]
    assert kept(web) == before and "Traceback" not in web.log()


def test_an_upload_is_stopped_at_its_limit(web: Web) -> None:
    large = PNG + bytes(MAX_UPLOAD)
    before = kept(web)
    declared = web.post("/uploads", content=large)
    chunked = web.post("/uploads", content=iter([PNG, *[bytes(50_000)] * 5]))
    form = web.post("/uploads", files={"file": ("a.png", large)})
    inline = web.post("/generate", json={"image": b64encode(large).decode()})
    for answer in (declared, chunked, form, inline):
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (413, "upload-too-large"), answer.text
    assert web.post("/generate", files={"image": ("a", bytes(MAX_UPLOAD + 400_000))}).status_code == 413
    assert kept(web) == before


def test_an_upload_that_breaks_off_is_not_kept(web: Web) -> None:
    before = kept(web)
    with socket.create_connection(("127.0.0.1", web.port)) as client:
        head = f"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PNG)}\r\n\r\n"
        client.sendall(head.encode() + PNG[:-10])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert kept(web) == before


def test_an_upload_may_take_longer_than_other_requests(web: Web) -> None:
    data = picture("BMP", size=(100, 100))

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(data), 5000):
            yield data[start : start + 5000]
            time.sleep(0.4)  # what is slow here is the client

    began = time.monotonic()
    answer = web.post("/uploads", content=slowly(), headers={"Content-Length": str(len(data))})
    assert answer.status_code == 201 and time.monotonic() - began > 2


def test_a_request_names_an_upload_or_holds_the_file(web: Web) -> None:
    web.post("/uploads", content=PNG)
    text = b64encode(PNG).decode()
    for image in (ID, text, f"data:image/png;base64,{text}", f"data:text/html;base64,{text}"):
        answer = web.post("/generate", json={"image": image, "references": [image, ID]})
        found = arguments(web, answer)
        assert (found["image"], found["references"]) == (ID, [ID, ID])
        assert web.job(answer.json()["request_id"]).inputs == (ID,)


def test_a_job_without_inputs_has_none(web: Web) -> None:
    assert wrong(web.post("/generate", json={})) == {
        "#/image": "is missing; it must be a picture: the id of an upload, a data URL, or the file in base64"
    }


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("a" * 64, "there is no such upload"),
        ("https://example.com/a.png", "is a URL, which the server does not fetch"),
        ("file:///etc/hostname", "is a URL, which the server does not fetch"),
        ("/etc/hostname", "is no base64"),
        ("../../etc/passwd", "is no base64"),
        ("data:image/png,abc", "is a URL, which the server does not fetch"),
        ("data:image/png;base64,%%%", "is no base64"),
        ("", "the file is not accepted"),
        (5, "must be a picture"),
        (["x"], "is no base64"),
        (b64encode(b"hello").decode(), "the file is not accepted"),
    ],
)
def test_what_is_no_picture_is_refused(web: Web, image: object, says: str) -> None:
    assert says in next(iter(wrong(web.post("/generate", json={"image": image})).values()))


def test_a_file_of_another_kind_is_refused(web: Web, tmp_path: Path) -> None:
    film_id = web.post("/uploads", content=film(tmp_path / "a.mp4").read_bytes()).json()["id"]
    assert wrong(web.post("/generate", json={"image": film_id}))["#/image"].endswith("and this is video/mp4")
    assert wrong(web.post("/generate", json={"image": ID, "clip": ID}))["#/clip"].endswith("and this is image/png")
    moving = web.post("/uploads", content=animated()).json()["id"]
    assert arguments(web, web.post("/generate", json={"image": moving, "clip": moving}))["clip"] == moving


def test_all_wrong_files_are_named(web: Web) -> None:
    assert wrong(web.post("/generate", json={"image": "?", "references": [ID, "?"]})).keys() == {
        "#/image",
        "#/references/1",
    }


def test_a_form_gives_files_and_texts(web: Web) -> None:
    files = [("image", ("upload", PNG, "application/octet-stream")), ("references[]", ("a", PNG))]
    texts = {"prompt": "7", "steps": "9", "fast": "true", "references": ID, "sizes": ["1", "[2, 3]"], "seed": "5"}
    answer = web.post("/generate", data=texts, files=files)
    found = arguments(web, answer)
    assert found == {
        "image": ID,
        "mask": None,
        "references": [ID, ID],
        "clip": None,
        "prompt": "7",
        "steps": 9,
        "fast": True,
        "sizes": [1, 2, 3],
        "raw": "",
        "others": None,
        "seed": 5,
    }


def test_nothing_may_stand_for_an_optional_list(web: Web) -> None:
    found = arguments(web, web.post("/generate", files={"image": ("a", PNG)}, data={"mask": "null", "others": "null"}))
    assert (found["mask"], found["others"]) == (None, None)


def test_an_encoded_file_is_refused(web: Web) -> None:
    for path in ("/uploads", "/generate"):
        answer = web.post(path, files={"image": ("a", PNG)}, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415, answer.text


def test_a_file_may_be_bytes_of_any_kind(web: Web) -> None:
    found = arguments(web, web.post("/generate", files={"image": ("a", PNG), "raw": ("b", b"any")}))
    assert found["raw"] == b64encode(b"any").decode()


def test_a_text_of_too_many_values_is_not_parsed(web: Web) -> None:
    texts = {"sizes": "[" + "[]," * 60_000 + "1]"}
    assert "more than 20000 values" in wrong(web.post("/generate", files={"image": ("a", PNG)}, data=texts))["#"]


def test_a_typed_text_is_no_file(web: Web) -> None:
    files = [("image", ("a", PNG)), ("prompt", (None, "ü", "text/plain")), ("sizes", (None, "[4]", "application/json"))]
    found = arguments(web, web.post("/generate", files=files))
    assert (found["prompt"], found["sizes"]) == ("ü", [4])


@pytest.mark.parametrize(
    ("data", "files", "pointer"),
    [
        ({}, [("prompt", ("a", PNG))], "#/prompt"),
        ({}, [("no", ("a", PNG))], "#/no"),
        ({}, [("image", ("a", PNG)), ("image", ("b", PNG))], "#/image"),
        ({"steps": "many"}, [("image", ("a", PNG))], "#/steps"),
        ({}, [("image", ("a", b"no picture"))], "#/image"),
        ({}, [("image", ("a", PNG)), ("steps", (None, "{", "application/json"))], "#/steps"),
        ({}, [("image", ("a", PNG)), ("prompt", (None, b"\xff", "text/plain"))], "#/prompt"),
    ],
)
def test_a_wrong_form_is_refused_by_name(web: Web, data: Any, files: Any, pointer: str) -> None:
    assert wrong(web.post("/generate", data=data, files=files)).keys() == {pointer}


@pytest.mark.parametrize(
    "body", [b"", b"nothing", b"--x\r\n\r\n", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc']
)
def test_a_malformed_form_is_a_bad_request(web: Web, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert web.post("/generate", content=body, headers=headers).status_code == 400
    assert web.post("/uploads", content=body, headers=headers).status_code == 400
    assert web.post("/generate", content=body, headers={"Content-Type": "multipart/form-data"}).status_code == 400


def test_the_same_form_with_a_key_is_one_job(web: Web) -> None:
    ids = {
        web.post("/generate", files={"image": ("a", PNG)}, headers={"Idempotency-Key": "k"}).json()["request_id"]
        for _ in range(2)
    }
    assert len(ids) == 1


def test_an_upload_that_is_gone_is_not_known(web: Web) -> None:
    assert web.get(f"/uploads/{'b' * 64}").json()["type"].endswith("upload-not-found")
    assert web.get("/uploads/no").status_code == 404
    web.post("/uploads", content=PNG)
    file_of(web, ID).unlink()
    assert web.get(f"/uploads/{ID}").status_code == 404
    assert "send the file again" in wrong(web.post("/generate", json={"image": ID}))["#/image"]


def test_no_output_may_be_among_the_uploads(web: Web) -> None:
    web.post("/uploads", content=PNG)
    path = str(file_of(web, ID).with_name("a.png").relative_to(web.settings.output_dir))
    assert "its own files" in wrong(web.post("/generate", json={"image": ID, "output_path": path}))["#/output_path"]


def test_bytes_of_an_upload_are_never_served(web: Web) -> None:
    polyglot = PNG + b"<html><script>alert(1)</script></html>"
    answer = web.post("/uploads", content=polyglot)
    described = web.get(answer.headers["location"])
    assert described.headers["content-type"] == "application/json"
    assert b"<script>" not in described.content
    assert json.loads(described.content)["media_type"] == "image/png"


def test_the_schema_and_the_document_say_what_is_taken(web: Web) -> None:
    image = web.get("/schema").json()["properties"]["image"]
    assert image == {"title": "Image", "type": "string", "format": "image-input", "contentMediaType": "image/*"}
    bodies = web.get("/openapi.json").json()["paths"]["/generate"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"application/json", "multipart/form-data"}
