"""What a picture may contain: the vocabulary, random scenes, and the combinations withheld from all training.

A scene is what a prompt says (attributes by name); where exactly things lie is decided in `drawing.py`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "green": (30, 150, 60),
    "blue": (35, 70, 215),
    "yellow": (250, 220, 40),
    "orange": (250, 130, 20),
    "purple": (130, 40, 170),
    "white": (248, 248, 248),
    "black": (15, 15, 15),
}
DEFAULT_BACKGROUND = "grey"
DEFAULT_BACKGROUND_RGB = (170, 170, 170)
PLACES = ("left", "right", "top", "bottom", "centre")
SIZES = ("small", "large")
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Item:
    """One shape as the prompt describes it; None means that the prompt leaves it open."""

    shape: str
    colour: str
    place: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Scene:
    """One or two shapes and a background; a background of None means the default grey."""

    items: tuple[Item, ...]
    background: str | None = None


def background_rgb(name: str | None) -> tuple[int, int, int]:
    """The colour of a background, the default grey when the prompt states none."""
    return DEFAULT_BACKGROUND_RGB if name in (None, DEFAULT_BACKGROUND) else COLOURS[str(name)]


def resolved_places(scene: Scene) -> tuple[str, ...]:
    """Where each shape goes once the places that the prompt leaves open are filled in."""
    places = [item.place for item in scene.items]
    if len(places) == 1:
        return (places[0] or "centre",)
    first, second = places
    if first is None and second is None:
        return ("left", "right")
    if first is None:
        return (OPPOSITE.get(str(second), "left"), str(second))
    return (first, second or OPPOSITE.get(first, "right"))


def is_withheld(shape: str, colour: str, place: str) -> bool:
    """Whether this combination never occurs in training: of each shape in each colour, one place of five."""
    number = SHAPES.index(shape) + 2 * list(COLOURS).index(colour) + PLACES.index(place)
    return number % len(PLACES) == 0


def split_of(scene: Scene) -> str:
    """The split a scene belongs to: train, or (with a withheld combination in it) dev or test.

    Dev and test share no scene: a fixed checksum of the whole description decides between them.
    """
    places = resolved_places(scene)
    if not any(is_withheld(i.shape, i.colour, p) for i, p in zip(scene.items, places, strict=True)):
        return "train"
    return "dev" if zlib.crc32(repr(scene).encode()) % 2 else "test"


def _choice(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _random_item(rng: np.random.Generator, place: str | None, sizes: tuple[str, ...]) -> Item:
    size = _choice(rng, sizes) if rng.random() < 0.7 else None
    return Item(_choice(rng, SHAPES), _choice(rng, tuple(COLOURS)), place, size)


def _random_pair(rng: np.random.Generator, open_places: bool) -> tuple[Item, ...]:
    """Two shapes at different places, with sizes that leave room between them."""
    order = rng.permutation(len(PLACES))
    first, second = PLACES[order[0]], PLACES[order[1]]
    if rng.random() < 0.5:
        first = _choice(rng, PLACES[:4])
        second = OPPOSITE[first]
    if open_places:
        given = _choice(rng, PLACES[:4]) if rng.random() < 0.5 else None
        return (_random_item(rng, given, SIZES), _random_item(rng, None, SIZES))
    sizes = SIZES if OPPOSITE.get(first) == second else ("small",)
    return (_random_item(rng, first, sizes), _random_item(rng, second, sizes))


def random_scene(rng: np.random.Generator, two: float = 0.4, open_places: float = 0.1) -> Scene:
    """A random scene of any split; no shape has the background's colour."""
    is_open = bool(rng.random() < open_places)
    while True:
        if rng.random() < two:
            items = _random_pair(rng, is_open)
        else:
            items = (_random_item(rng, None if is_open else _choice(rng, PLACES), SIZES),)
        used = {item.colour for item in items}
        free = tuple(name for name in COLOURS if name not in used)
        background = _choice(rng, free) if rng.random() < 0.8 else None
        return Scene(items, background)


def sample_scene(rng: np.random.Generator, split: str, two: float = 0.4, open_places: float = 0.1) -> Scene:
    """A random scene of the given split, by drawing until one belongs to it."""
    while True:
        scene = random_scene(rng, two, open_places)
        if split_of(scene) == split:
            return scene
