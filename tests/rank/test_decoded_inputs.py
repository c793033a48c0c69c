"""What predict gets for its pictures, videos and sounds, and which files are refused on every rank alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import BLUE, RED, animated, bomb, film, picture, saved, tone, turned
from PIL import Image, ImageChops

from para_attn_server.core.arguments.inputs import Reference
from para_attn_server.core.errors import InvalidInput
from para_attn_server.core.results import Audio, Video
from para_attn_server.core.uploads import FRAMES_AT_MOST
from para_attn_server.rank.inputs import decoded

MAX_PIXELS = 64 * 48


def decode(folder: Path, data: bytes, kind: str = "image", max_pixels: int = MAX_PIXELS) -> Any:
    """What an argument of that kind becomes."""
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    arguments = {"it": Reference.of(kind, digest), "text": digest}
    found = decoded(arguments, {digest: str(folder / digest)}, max_pixels)
    assert found["text"] == digest
    return found["it"]


def refused(folder: Path, data: bytes, kind: str = "image", max_pixels: int = MAX_PIXELS) -> str:
    """Why it is refused, in words that name no path."""
    with pytest.raises(InvalidInput) as caught:
        decode(folder, data, kind, max_pixels)
    (field,) = caught.value.fields
    assert field.pointer == "#/it" and str(folder) not in field.detail
    return field.detail


def near(image: Image.Image, place: tuple[int, int], color: tuple[int, int, int]) -> bool:
    """Whether a pixel has about that color."""
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return all(abs(a - b) < 12 for a, b in zip(found, color, strict=True))


@pytest.mark.parametrize(
    "data",
    [
        picture(),
        picture("PNG", mode="P"),
        picture("PNG", mode="RGBA"),
        picture("JPEG", quality=95),
        picture("JPEG", mode="CMYK", quality=95),
        picture("WEBP", lossless=True),
        picture("WEBP", quality=95),
        picture("BMP"),
        picture("GIF", mode="P"),
    ],
    ids=["png", "palette", "alpha", "jpeg", "cmyk", "lossless webp", "webp", "bmp", "gif"],
)
def test_every_picture_is_rgb(tmp_path: Path, data: bytes) -> None:
    image = decode(tmp_path, data)
    assert (image.mode, image.size) == ("RGB", (40, 20))
    assert near(image, (8, 10), RED) and near(image, (32, 10), BLUE)


def test_a_turned_picture_is_upright(tmp_path: Path) -> None:
    image = decode(tmp_path, turned(6))
    assert image.size == (20, 40)
    assert near(image, (10, 8), RED) and near(image, (10, 32), BLUE)
    assert near(decode(tmp_path, turned(3)), (8, 10), BLUE)


def test_of_an_animated_picture_the_first_frame_counts(tmp_path: Path) -> None:
    for kind in ("GIF", "PNG", "WEBP"):
        image = decode(tmp_path, animated(kind))
        assert image.size == (40, 20) and near(image, (30, 10), RED)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = decode(tmp_path, saved(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"))
    assert image.getpixel((1, 1)) == (255, 255, 255)


def test_sixteen_bits_of_gray_become_eight(tmp_path: Path) -> None:
    gray = Image.fromarray(np.full((4, 4), 0x80FF, np.uint16))
    assert decode(tmp_path, saved(gray, "PNG")).getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str) -> None:
    data = saved(Image.effect_noise((60, 40), 90).convert("RGB"), kind)
    assert "damaged" in refused(tmp_path, data[: len(data) // 2])


def test_a_damaged_picture_is_refused(tmp_path: Path) -> None:
    data = bytearray(picture("PNG"))
    data[60:70] = bytes(10)
    assert "damaged" in refused(tmp_path, bytes(data))


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    assert "60000 x 60000 pixels are more than 3072" in refused(tmp_path, bomb())


def test_a_frame_larger_than_its_header_says_is_refused(tmp_path: Path) -> None:
    data = bytearray(animated("GIF", frames=1))
    at = data.index(b",\0\0\0\0")
    data[at + 5 : at + 9] = (5000).to_bytes(2, "little") * 2
    assert "more than 3072 pixels" in refused(tmp_path, bytes(data))
    assert Image.MAX_IMAGE_PIXELS is None or Image.MAX_IMAGE_PIXELS > MAX_PIXELS


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, b"<svg/>").startswith("it is no PNG")
    assert refused(tmp_path, picture(), "video").startswith("must be a video")
    assert refused(tmp_path, picture(), "audio").startswith("must be a sound")


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    for paths in ({}, {"a" * 64: str(tmp_path / "none")}):
        with pytest.raises(InvalidInput, match=r"images/1: its file is not there any more"):
            decoded({"images": ["x", Reference.of("image", "a" * 64)]}, paths, MAX_PIXELS)


# --- videos and sounds ---


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.mov"])
def test_a_video_is_its_frames_and_their_rate(tmp_path: Path, name: str) -> None:
    video = decode(tmp_path, film(tmp_path / name).read_bytes(), "video", 3 * MAX_PIXELS)
    assert isinstance(video, Video)
    assert (len(video.frames), video.fps) == (20, 10.0)
    assert {(frame.mode, frame.size) for frame in video.frames} == {("RGB", (64, 48))}
    assert ImageChops.difference(video.frames[0], video.frames[-1]).getbbox()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animated_picture_is_a_video(tmp_path: Path, kind: str) -> None:
    video = decode(tmp_path, animated(kind), "video")
    assert (len(video.frames), video.fps) == (5, 20.0)
    assert near(video.frames[0], (30, 10), RED) and near(video.frames[4], (30, 10), (80, 10, 200))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"])
def test_a_sound_is_its_samples_and_their_rate(tmp_path: Path, name: str) -> None:
    sound = decode(tmp_path, tone(tmp_path / name).read_bytes(), "audio", 10**6)
    assert isinstance(sound, Audio)
    assert (sound.rate, sound.samples.dtype, sound.samples.shape[0]) == (44100, np.float32, 1)
    assert abs(sound.samples.shape[1] - 88200) < 4000
    assert 0.05 < float(np.abs(sound.samples).max()) < 0.5


def test_long_videos_and_sounds_are_refused(tmp_path: Path) -> None:
    data = film(tmp_path / "a.mp4").read_bytes()
    assert "20 frames of 64 x 48 have more pixels" in refused(tmp_path, data, "video")
    webm = film(tmp_path / "a.webm").read_bytes()  # whose header does not say it
    assert "all frames more than 8 times" in refused(tmp_path, webm, "video")
    assert "its frames have more pixels" in refused(tmp_path, animated(frames=12), "video", 40 * 20)
    assert "more than 3072 samples" in refused(tmp_path, tone(tmp_path / "a.wav").read_bytes(), "audio")


def test_a_damaged_video_or_sound_is_refused(tmp_path: Path) -> None:
    data = film(tmp_path / "a.webm").read_bytes()
    assert "damaged" in refused(tmp_path, data[: data.index(b"\x1f\x43\xb6\x75")], "video")
    assert "damaged" in refused(tmp_path, b"ID3" + bytes(500), "audio")


def test_a_video_opens_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    film(secret)
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile:{secret}\n#EXT-X-ENDLIST\n".encode()
    assert refused(tmp_path, playlist, "video").startswith("it is no PNG")
    disguised = b"ID3" + playlist
    assert "damaged" in refused(tmp_path, disguised, "audio")


def test_whatever_the_bytes_nothing_but_invalid_input_is_raised(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    files = [picture(), turned(), animated(), animated("WEBP"), picture("BMP"), film(tmp_path / "a.mp4").read_bytes()]
    for data in files:
        for _ in range(40):
            broken = bytearray(data)
            for place in random.integers(0, min(len(broken), 300), 4):
                broken[place] = int(random.integers(0, 256))
            for kind in ("image", "video"):
                try:
                    decode(tmp_path, bytes(broken), kind, MAX_PIXELS * 4)
                except InvalidInput:
                    continue


def test_the_limit_of_frames_is_the_one_that_the_settings_name() -> None:
    from para_attn_server.core.settings import Settings

    description = Settings.model_fields["max_pixels"].description
    assert description and f"{FRAMES_AT_MOST} times" in description
