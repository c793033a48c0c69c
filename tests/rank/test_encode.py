"""What predict returns, encoded: each kind is read again by another program's code."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_output import FluxPipelineOutput
from diffusers.utils import BaseOutput
from imageio_ffmpeg import count_frames_and_secs, get_ffmpeg_exe, read_frames
from PIL import Image

from para_attn_server.core import output
from para_attn_server.core.errors import InvalidInput
from para_attn_server.core.job import Output
from para_attn_server.core.output import dated
from para_attn_server.core.results import Audio, Video
from para_attn_server.rank.encode import ffmpeg
from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.watch import Watch
from para_attn_server.rank.outputs import MOST, RunOutputs

JOB = "a" * 32
RED = Image.new("RGB", (8, 6), "red")
Encode = Callable[..., list[tuple[Path, Output]]]


class Frames(BaseOutput):
    """As the outputs of video pipelines are; the fields are set by name."""

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """Encodes a value under a name that was asked for, or one of the server's; the files and what is known of each."""

    def encoded(value: object, name: str = "", suffix: str = ".png") -> list[tuple[Path, Output]]:
        final = tmp_path / name if name else dated(tmp_path, 0.0, JOB + suffix)
        output.prepare(final, JOB)
        files = RunOutputs(str(final), JOB, 0)
        files.hold([value])
        files.write(Watch())
        return [(output.temporary_path(one.path, JOB), one) for one in files.seal(lambda: None)]

    return encoded


def colors(path: Path) -> list[Any]:
    """Of the pixel in the corner of each frame."""
    with Image.open(path) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(image.convert("RGB").getpixel((0, 0)))
        return found


def frames(count: int = 4, size: tuple[int, int] = (32, 24)) -> list[Image.Image]:
    """From black to white."""
    return [Image.new("RGB", size, (255 * i // (count - 1),) * 3) for i in range(count)]


def array(*shape: int) -> np.ndarray:
    """Of floats in the middle."""
    return np.full(shape, 0.5, np.float32)


# --- pictures ---


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP")])
def test_a_picture_has_the_format_of_its_suffix(encode: Encode, suffix: str, kind: str) -> None:
    ((path, known),) = encode(RED, "star" + suffix)
    with Image.open(path) as image:
        assert (image.format, image.size) == (kind, (8, 6))
        assert np.allclose(np.asarray(image.convert("RGB"))[0, 0], (255, 0, 0), atol=6)
    assert (Path(known.path).suffix, known.width, known.height) == (suffix, 8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_of_any_mode_can_be_written(encode: Encode, mode: str, suffix: str) -> None:
    ((path, _),) = encode(Image.new(mode, (4, 4)), "star" + suffix)
    with Image.open(path) as image:
        image.load()


def test_what_is_transparent_is_white_where_the_format_has_no_alpha(encode: Encode) -> None:
    ((path, _),) = encode(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "star.jpg")
    assert colors(path) == [(255, 255, 255)]


@pytest.mark.parametrize(
    ("value", "pixel"),
    [
        (np.full((6, 8, 3), 7, np.uint8), (7, 7, 7)),
        (np.full((6, 8), 7, np.int64), (7, 7, 7)),
        (np.ones((6, 8, 1), bool), (255, 255, 255)),
        (array(6, 8, 3), (128, 128, 128)),
        (array(3, 6, 8), (128, 128, 128)),
        (torch.full((3, 6, 8), 1.005, dtype=torch.bfloat16), (255, 255, 255)),
        (torch.zeros(6, 8, 4, requires_grad=True), (0, 0, 0)),
    ],
)
def test_an_array_of_pixels_is_a_picture(encode: Encode, value: Any, pixel: tuple[int, int, int]) -> None:
    ((path, known),) = encode(value)
    assert (colors(path), known.width, known.height) == ([pixel], 8, 6)


@pytest.mark.parametrize(
    "value",
    [
        [RED, RED],
        (RED, array(6, 8, 3)),
        ([RED, RED],),
        array(2, 6, 8, 3),
        torch.zeros(2, 3, 6, 8),
        FluxPipelineOutput(images=[RED, RED]),
        SimpleNamespace(images=array(2, 6, 8, 3)),
    ],
    ids=["list", "tuple", "return_dict=False", "array", "tensor", "pipeline", "pipeline-array"],
)
def test_several_pictures_are_several_outputs(encode: Encode, value: object) -> None:
    made = encode(value, "star.webp")
    assert [(path.name, known.role, known.width) for path, known in made] == [
        ("star.webp", "output", 8),
        ("star-1.webp", "output", 8),
    ]
    assert all(Image.open(path).format == "WEBP" for path, _ in made)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (array(6, 8, 3) - 1, r"pixels from -0\.5 to -0\.5: floats are from 0 to 1; .*\(x / 2 \+ 0\.5\)"),
        (array(6, 8, 3) * np.nan, "pixels from nan to nan"),
        (np.full((6, 8), 300), "integers are from 0 to 255"),
        (np.zeros((6, 8), complex), "pixels of type complex"),
        (torch.zeros(16, 64, 64), r"an array of shape \(16, 64, 64\) holds no pictures"),
        (array(0, 8, 3), "has no pixels"),
        (Image.new("RGB", (0, 0)), "a picture of 0 x 0 has no pixels"),
        (array(1, 2, 6, 8, 3), r"return Video\(frames, fps\) of it"),
        ([RED] * (MOST + 1), f"up to {MOST} outputs"),
        (Frames(audios=array(1, 2, 9)), r"return Audio\(samples, rate\)"),
        (Frames(frames=[[RED]], audio=array(2, 9)), r"return \[Video\(frames, fps\), Audio\(samples, rate\)\]"),
        (SimpleNamespace(a=1), "a value of type types.SimpleNamespace is none of PIL pictures, arrays"),
        (7, "a value of type int is none of"),
        ({"picture": RED}, "a dict that is not JSON: a value of type PIL.Image.Image"),
        ([float("nan")], "a list that is not JSON: Out of range float"),
        ([RED, 7], "a value of type int is none of"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_what_can(encode: Encode, value: object, words: str) -> None:
    with pytest.raises(Unencodable, match=words):
        encode(value)


# --- videos ---


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize(
    "value",
    [
        frames(),
        Video(frames(), fps=24),
        np.stack([np.asarray(frame) for frame in frames()]),
        Frames(frames=[frames()]),
        Frames(frames=torch.zeros(1, 4, 3, 24, 32)),
        Frames(frames=frames()),
    ],
    ids=["list", "video", "array", "pipeline", "pipeline-tensor", "pipeline-flat"],
)
def test_frames_are_a_video(encode: Encode, suffix: str, value: object) -> None:
    ((path, known),) = encode(value, suffix=suffix)
    facts = next(read_frames(path))
    assert facts["codec"] == {".mp4": "h264", ".webm": "vp9"}[suffix]
    assert (facts["size"], facts["fps"], count_frames_and_secs(path)[0]) == ((32, 24), 24, 4)
    assert (known.width, known.height, known.duration) == (32, 24, round(4 / 24, 3))


def test_the_frames_of_a_video_are_what_was_returned(encode: Encode) -> None:
    ((path, _),) = encode(Video(frames(), fps=5), "star.mp4")
    read = read_frames(path)
    assert next(read)["fps"] == 5
    assert [frame[0] for frame in read] == pytest.approx([0, 85, 170, 255], abs=4)


def test_a_gif_needs_no_ffmpeg(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    ((path, known),) = encode(Video(frames(), fps=10), "star.gif")
    assert colors(path) == [(0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3]
    with Image.open(path) as image:
        assert (image.info["duration"], image.info["loop"]) == (100, 0)
    assert (known.width, known.height, known.duration) == (32, 24, 0.4)


def test_a_video_of_an_odd_size_is_made_even(encode: Encode) -> None:
    ((path, known),) = encode(frames(size=(33, 25)), "star.mp4")
    assert next(read_frames(path))["size"] == (34, 26)
    assert (known.width, known.height) == (34, 26)


def test_several_videos_are_several_outputs(encode: Encode) -> None:
    made = encode(Frames(frames=[frames(), frames()]))
    assert [path.name for path, _ in made] == [f"{JOB}.mp4", f"{JOB}-1.mp4"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Video([]), "without frames"),
        (Video([RED, frames()[0]]), r"one size, not \(8, 6\) and \(32, 24\)"),
        (Video(["red"]), "a frame of a video is a picture or an array of one, not str"),
        (Video(RED), "frames are a list of pictures or an array, not Image"),
        (Video(array(6, 8, 3)), r"frames of shape \(6, 8, 3\)"),
        (Video(frames(), fps=0), "not 0"),
    ],
)
def test_a_video_that_is_none_is_refused(encode: Encode, value: object, words: str) -> None:
    with pytest.raises(Unencodable, match=words):
        encode(value, "star.gif")


def test_without_ffmpeg_one_sentence_says_what_to_install(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(Unencodable, match=r"^\.mp4 needs ffmpeg, .*: pip install .*imageio-ffmpeg"):
        encode(frames(), "star.mp4")


def test_what_ffmpeg_says_is_passed_on(tmp_path: Path) -> None:
    data = [bytes(2**20)] * 9
    with pytest.raises(Unencodable, match=r"ffmpeg cannot write \.mp4: "):
        ffmpeg.ffmpeg(["-f", "rawvideo", "-s", "2x2"], ["-c:v", "unheard-of"], tmp_path / "a.mp4", data, Watch())


def test_each_frame_is_a_sign_of_life(tmp_path: Path) -> None:
    watch = Mock(spec=Watch)
    output.prepare(tmp_path / "star.gif", JOB)
    files = RunOutputs(str(tmp_path / "star.gif"), JOB, 0)
    files.hold([frames(7)])
    files.write(watch)
    assert watch.call_count >= 7


# --- audio ---


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("shape", [(800,), (2, 800), (800, 2)])
def test_samples_are_sound(encode: Encode, suffix: str, shape: tuple[int, ...]) -> None:
    samples = torch.linspace(-1.5, 1.5, int(np.prod(shape))).reshape(shape)
    ((path, known),) = encode(Audio(samples, rate=8000), "star" + suffix)
    assert known.duration == 0.1
    raw = subprocess.run(
        [get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "s16le", "pipe:1"], capture_output=True, check=True
    ).stdout
    read = np.frombuffer(raw, "<i2").reshape(800, -1)
    given = samples.numpy().clip(-1, 1).reshape(shape)
    given = given[:, None] if given.ndim == 1 else given.T if given.shape[0] < 9 else given
    assert np.abs(read / 32767 - given).max() < 1e-4


def test_a_wav_says_its_rate(encode: Encode) -> None:
    ((path, known),) = encode([Audio(np.zeros((2, 4410), np.int16), 44100)])
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (44100, 2, 4410)
    assert (path.name, known.media_type) == (f"{JOB}.wav", "audio/wav")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Audio(array(1, 2, 9), 8000), r"samples of shape \(1, 2, 9\)"),
        (Audio(array(9, 9), 8000), "up to 8 channels"),
        (Audio(np.zeros(9, np.int64), 8000), "samples of type int64"),
        (Audio(array(9) * np.inf, 8000), "not finite"),
        (Audio(array(9), 44100.0), r"not 44100\.0"),  # type: ignore[arg-type]
    ],
)
def test_sound_that_is_none_is_refused(encode: Encode, value: object, words: str) -> None:
    with pytest.raises(Unencodable, match=words):
        encode(value, "star.wav")


# --- the rest, and names ---


def test_text_json_and_bytes_are_written_as_they_are(encode: Encode) -> None:
    said = encode("gr\u00fcn")
    assert [(path.name, path.read_text("utf-8")) for path, _ in said] == [(f"{JOB}.txt", "gr\u00fcn")]
    ((path, known),) = encode({"score": np.float32(0.5), "tags": ("\u00e4",), "empty": []})
    assert json.loads(path.read_text("utf-8")) == {"score": 0.5, "tags": ["\u00e4"], "empty": []}
    assert (path.name, known.media_type) == (f"{JOB}.json", "application/json")
    ((path, _),) = encode(b"glTF", suffix=".glb")
    assert (path.name, path.read_bytes()) == (f"{JOB}.glb", b"glTF")
    assert encode("# A", "star.md")[0][0].name == "star.md"
    assert encode(["a", 1], "star.json")[0][0].read_text() == '["a", 1]\n'


def test_each_item_of_a_mixed_list_has_its_own_format(encode: Encode) -> None:
    made = encode([RED, Audio(array(9), 8000), "a star", {"nsfw": False}, Video(frames())])
    assert [Path(known.path).name.removeprefix(JOB) for _, known in made] == [
        ".png",
        "-1.wav",
        "-2.txt",
        "-3.json",
        "-4.mp4",
    ]


@pytest.mark.parametrize(("value", "suffix"), [(RED, ".mp4"), ({}, ".png"), (Video(frames()), ".webp"), ("a", ".wav")])
def test_a_format_that_was_asked_for_and_does_not_fit_is_the_requests_fault(
    encode: Encode, value: object, suffix: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"output_path: .* is made: end in one of \..*, not {suffix}"):
        encode(value, "star" + suffix)
