"""Media types come from the project's own table: they are the same with and without a file /etc/mime.types."""

from __future__ import annotations

import ast
import mimetypes
from pathlib import Path

import pytest
from PIL import Image

from para_attn_server.core.media_types import MEDIA_TYPES, UNKNOWN, media_type
from para_attn_server.rank.encode.kinds import PICTURE

PACKAGE = Path(__file__).parents[2] / "para_attn_server"
NAMED_OTHERWISE_BY_PILLOW = {".apng", ".ico", ".jpf", ".jpx", ".j2c", ".j2k", ".jpc", ".xbm"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.PNG", "image/png"),
        ("a.b.Jpg", "image/jpeg"),
        (".0123.part.png", "image/png"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/matroska"),
        ("a.wav", "audio/wav"),
        ("a.flac", "audio/flac"),
        ("a.opus", "audio/ogg"),
        ("a.glb", "model/gltf-binary"),
        ("a.txt", "text/plain"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.json", "application/json"),
        ("a.npz", "application/zip"),
        ("a.tar.gz", "application/gzip"),
        ("a.safetensors", UNKNOWN),
        ("a.unheard-of", UNKNOWN),
        ("png", UNKNOWN),
        (".png", UNKNOWN),
    ],
)
def test_a_suffix_has_its_media_type(name: str, expected: str) -> None:
    assert media_type(Path("/some.gif", name)) == media_type(name) == expected


def test_every_picture_that_pillow_can_write_has_a_media_type() -> None:
    Image.init()
    written = {end: kind for end, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    assert set(PICTURE.suffixes) <= set(written)
    named = {end: Image.MIME[kind] for end, kind in written.items() if kind in Image.MIME}
    assert {end for end in named if media_type("a" + end) == UNKNOWN} == set()
    portable = {".pbm", ".pgm", ".ppm"}  # Pillow has one name for all of them
    ours = {end: media_type("a" + end) for end in named.keys() - NAMED_OTHERWISE_BY_PILLOW - portable}
    assert ours == {end: named[end] for end in ours}


def test_the_machine_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("x/wrong", None))
    assert media_type("a.png") == "image/png"
    users = [path.name for path in PACKAGE.rglob("*.py") if _imports_mimetypes(path)]
    assert users == []


def _imports_mimetypes(path: Path) -> bool:
    names = [n for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for n in node.names]
    return "mimetypes" in {name.name for name in names}


def test_the_table_is_well_formed() -> None:
    assert all(end.startswith(".") and end == end.lower() for end in MEDIA_TYPES)
    kinds = ("image", "video", "audio", "text", "application", "model")
    assert {kind.partition("/")[0] for kind in MEDIA_TYPES.values()} <= set(kinds)
