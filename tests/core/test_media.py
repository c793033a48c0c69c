"""What headers say of files, and that none of them takes long or raises what nobody expects."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import animated, bomb, film, picture, tone, turned

from para_attn_server.core.media import Media, NoMedia, read_header
from para_attn_server.core.media.limits import excess, unfit

SIZE = {"width": 40, "height": 20}


def read(data: bytes) -> Media:
    return read_header(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "media_type", "frames"),
    [
        (picture("PNG"), "image/png", 1),
        (picture("JPEG"), "image/jpeg", 1),
        (picture("JPEG", progressive=True), "image/jpeg", 1),
        (picture("JPEG", mode="CMYK"), "image/jpeg", 1),
        (turned(), "image/jpeg", 1),
        (picture("GIF", mode="P"), "image/gif", 1),
        (picture("WEBP"), "image/webp", 1),
        (picture("WEBP", lossless=True), "image/webp", 1),
        (picture("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), "image/webp", 1),
        (picture("BMP"), "image/bmp", 1),
        (animated("GIF"), "image/gif", 5),
        (animated("PNG"), "image/png", 5),
        (animated("WEBP"), "image/webp", 5),
    ],
)
def test_a_picture_has_a_size_and_frames(data: bytes, media_type: str, frames: int) -> None:
    assert read(data) == Media(media_type, "image", frames=frames, **SIZE)


@pytest.mark.parametrize(
    ("name", "media_type", "frames"),
    [
        ("a.mp4", "video/mp4", 20),
        ("a.mov", "video/quicktime", 20),
        ("a.webm", "video/webm", None),
        ("a.mkv", "video/matroska", None),
    ],
)
def test_a_video_has_a_size_and_a_length(tmp_path: Path, name: str, media_type: str, frames: int | None) -> None:
    media = read(film(tmp_path / name).read_bytes())
    assert (media.media_type, media.kind, media.width, media.height, media.frames) == (
        media_type,
        "video",
        64,
        48,
        frames,
    )
    assert media.duration == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("name", "media_type", "known"),
    [
        ("a.wav", "audio/wav", True),
        ("a.flac", "audio/flac", True),
        ("a.m4a", "audio/mp4", True),
        ("a.mka", "audio/matroska", True),
        ("a.mp3", "audio/mpeg", False),
        ("a.ogg", "audio/ogg", False),
        ("a.opus", "audio/ogg", False),
    ],
)
def test_a_sound_has_a_length_where_its_header_says_it(tmp_path: Path, name: str, media_type: str, known: bool) -> None:
    media = read(tone(tmp_path / name).read_bytes())
    assert (media.media_type, media.kind) == (media_type, "audio")
    assert media.duration == (pytest.approx(2, abs=0.05) if known else None)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is no PNG"),
        (b"<html>", "it is no PNG"),
        (b"%PDF-1.7", "it is no PNG"),
        (b"#EXTM3U\n", "it is no PNG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF and HEIC are not accepted"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "neither pictures nor sound"),
        (picture()[:20], "its header is damaged"),
        (picture("JPEG")[:100], "its header is damaged"),
        (bytes(picture()[:16]) + bytes(8) + picture()[24:], "its header is damaged"),
    ],
)
def test_what_is_no_media_says_so(data: bytes, says: str) -> None:
    with pytest.raises(NoMedia, match=says):
        read(data)


def test_a_name_or_what_follows_a_picture_changes_nothing() -> None:
    assert read(picture() + b"<script>") == read(picture())
    with pytest.raises(NoMedia):
        read(b"<script>" + picture())


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + bytes(7) + b"!\xff" + b"\x01a" * 10**6,
        b"GIF89a" + b"\1\0\1\0" + bytes(3) + b"!\xff\0" * 10**6,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 10**6,
        b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 10**6,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 10**6,
        b"\x1a\x45\xdf\xa3\x80" * 10**6,
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\2" + bytes(9) + b"ABCD\0\0\0\0" * 10**6,
        b"RIFF\0\0\0\0WAVE" + b"ABCD\0\0\0\0" * 10**6,
    ],
    ids=["gif blocks", "gif extensions", "png", "jpeg", "mp4", "webm", "webp", "wav"],
)
def test_a_hostile_file_does_not_take_long(data: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(NoMedia):
        read(data)
    assert time.process_time() - began < 2


@given(st.sampled_from([picture(), turned(), animated(), animated("WEBP"), picture("BMP"), bomb()]), st.data())
def test_no_damage_raises_anything_else(data: bytes, draw: st.DataObject) -> None:
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 5))):
        broken[draw.draw(st.integers(0, min(len(broken), 200) - 1))] = draw.draw(st.integers(0, 255))
    file = io.BytesIO(bytes(broken[: draw.draw(st.integers(0, len(broken)))]))
    try:
        media = read_header(file)
    except NoMedia:
        return
    assert media.kind in ("image", "video", "audio")
    assert file.tell() == 0


@given(
    st.sampled_from([b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"fLaC", b"OggS", b"RIFF\0\0\0\0WAVE"]), st.binary()
)
def test_no_bytes_raise_anything_else(begin: bytes, rest: bytes) -> None:
    with contextlib.suppress(NoMedia):
        read(begin + rest)


def test_too_many_pixels_are_found_in_the_header() -> None:
    assert excess(read(picture()), 800) is None
    assert excess(read(picture()), 799) == "40 x 20 pixels are more than 799 (--max-pixels)"
    assert excess(read(bomb()), 2**26) is not None
    movie = Media("video/mp4", "video", 100, 10, 9)
    assert excess(movie, 1000) == "9 frames of 100 x 10 have more pixels than 8 times 1000 (--max-pixels)"
    assert excess(movie, 1125) is None


def test_an_animated_picture_is_a_video_too() -> None:
    assert unfit("image", read(animated())) is None
    assert unfit("video", read(animated())) is None
    assert unfit("video", read(picture())) is not None
    assert unfit("audio", read(picture())) is not None
