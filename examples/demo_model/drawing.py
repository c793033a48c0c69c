"""Draws scenes: decides exact positions with jitter, and paints anti-aliased shapes from distance functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .scenes import COLOURS, Item, Scene, background_rgb, resolved_places

ANCHORS = {
    "left": (0.23, 0.5),
    "right": (0.77, 0.5),
    "top": (0.5, 0.23),
    "bottom": (0.5, 0.77),
    "centre": (0.5, 0.5),
}
RADII: dict[str | None, tuple[float, float]] = {
    "small": (0.115, 0.135),
    "large": (0.205, 0.235),
    None: (0.13, 0.22),
}
BESIDE_CENTRE = 0.34
PLACE_JITTER = 0.035
ANGLE_JITTER = math.radians(6)
COLOUR_JITTER = 7
GAP = 0.04
EDGE = 0.015

RING_HOLE = 0.52
SQUARE_HALF = 0.87
TRIANGLE_RADIUS = 1.25
STAR_RADIUS, STAR_RATIO = 1.25, 0.45
CROSS_ARM, CROSS_HALF = 1.08, 0.36
REACH = {"circle": 1.0, "ring": 1.0, "square": 1.15, "triangle": 1.25, "star": 1.25, "cross": 1.14}
AREA = {
    "circle": math.pi,
    "ring": math.pi * (1 - RING_HOLE**2),
    "square": 4 * SQUARE_HALF**2,
    "triangle": 3 * math.sqrt(3) / 4 * TRIANGLE_RADIUS**2,
    "star": 5 * STAR_RADIUS**2 * STAR_RATIO * math.sin(math.pi / 5),
    "cross": 8 * CROSS_ARM * CROSS_HALF - 4 * CROSS_HALF**2,
}

Array = np.ndarray


@dataclass(frozen=True)
class Placed:
    """A shape at its exact place: centre and radius in units of the picture's shorter side."""

    shape: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """Everything needed to paint one picture."""

    background: tuple[float, float, float]
    placed: tuple[Placed, ...]


def _fold(x: Array, y: Array, folds: int) -> tuple[Array, Array]:
    """Map a point into half a sector of a shape with `folds`-fold symmetry; the first sector points up."""
    sector = 2 * math.pi / folds
    turn = np.arctan2(x, -y)
    turn = np.abs(turn - sector * np.round(turn / sector))
    length = np.hypot(x, y)
    return length * np.cos(turn), length * np.sin(turn)


def _star_distance(x: Array, y: Array) -> Array:
    """Signed distance to the edge line between a tip of the star and the notch beside it."""
    along, across = _fold(x, y, 5)
    notch = STAR_RADIUS * STAR_RATIO
    edge_x, edge_y = notch * math.cos(math.pi / 5) - STAR_RADIUS, notch * math.sin(math.pi / 5)
    return (edge_y * (along - STAR_RADIUS) - edge_x * across) / math.hypot(edge_x, edge_y)


def distance(shape: str, x: Array, y: Array) -> Array:
    """Signed distance (negative inside) to a shape of radius one, upright, around the origin; y points down."""
    if shape == "circle":
        return np.hypot(x, y) - 1.0
    if shape == "ring":
        return np.abs(np.hypot(x, y) - (1 + RING_HOLE) / 2) - (1 - RING_HOLE) / 2
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - SQUARE_HALF
    if shape == "triangle":
        along, _ = _fold(x, -y, 3)
        return along - TRIANGLE_RADIUS / 2
    if shape == "star":
        return _star_distance(x, y)
    along, across = _fold(x, y, 4)
    return np.maximum(along - CROSS_ARM, across - CROSS_HALF)


def coverage(shape: str, x: Array, y: Array, radius: float, angle: float) -> Array:
    """How much of each pixel a shape covers; x, y and radius in pixels from the shape's centre."""
    cos, sin = math.cos(angle) / radius, math.sin(angle) / radius
    turned_x, turned_y = cos * x + sin * y, cos * y - sin * x
    return np.clip(0.5 - distance(shape, turned_x, turned_y) * radius, 0.0, 1.0)


def _clamped(value: float, reach: float, extent: float) -> float:
    low = reach + EDGE
    return min(max(value, low), extent - low) if extent > 2 * low else extent / 2


def _anchors(places: tuple[str, ...]) -> list[tuple[float, float]]:
    """Where shapes belong, as shares of width and height; one beside a shape in the centre goes further out."""
    if len(places) < 2 or "centre" not in places:
        return [ANCHORS[place] for place in places]
    scale = BESIDE_CENTRE / (0.5 - ANCHORS["left"][0])
    return [(0.5 + (x - 0.5) * scale, 0.5 + (y - 0.5) * scale) for x, y in (ANCHORS[place] for place in places)]


def _place(item: Item, anchor: tuple[float, float], extent: tuple[float, float], rng: np.random.Generator) -> Placed:
    """One shape near its anchor, with jitter (more when the prompt leaves the place open), inside the picture."""
    radius = rng.uniform(*RADII[item.size])
    angle = rng.uniform(-ANGLE_JITTER, ANGLE_JITTER)
    jitter = PLACE_JITTER if item.place else 2.0 * PLACE_JITTER
    anchor_x, anchor_y = anchor
    reach = radius * REACH[item.shape]
    x = _clamped((anchor_x + rng.uniform(-jitter, jitter)) * extent[0], reach, extent[0])
    y = _clamped((anchor_y + rng.uniform(-jitter, jitter)) * extent[1], reach, extent[1])
    return Placed(item.shape, x, y, radius, angle, _jittered(COLOURS[item.colour], rng))


def _jittered(rgb: tuple[int, int, int], rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.array(rgb) + rng.uniform(-COLOUR_JITTER, COLOUR_JITTER, 3), 0, 255) / 255
    return float(red), float(green), float(blue)


def _room(placed: list[Placed]) -> float:
    """How many times larger two shapes could be before they come too close; below one, they are too close."""
    if len(placed) < 2:
        return math.inf
    one, two = placed
    space = math.hypot(one.x - two.x, one.y - two.y) - GAP
    return space / (one.radius * REACH[one.shape] + two.radius * REACH[two.shape])


def layout(scene: Scene, rng: np.random.Generator, height: int, width: int) -> Layout:
    """Exact positions for a scene: of some tries the first with room between its shapes, else the roomiest, shrunk."""
    shorter = min(height, width)
    extent = (width / shorter, height / shorter)
    anchors = _anchors(resolved_places(scene))
    background = _jittered(background_rgb(scene.background), rng)
    best: list[Placed] = []
    for _ in range(30):
        placed = [_place(item, anchor, extent, rng) for item, anchor in zip(scene.items, anchors, strict=True)]
        if not best or _room(placed) > _room(best):
            best = placed
        if _room(best) >= 1:
            break
    scale = min(1.0, _room(best))
    return Layout(background, tuple(replace(item, radius=item.radius * scale) for item in best))


def paint(plan: Layout, height: int, width: int) -> Array:
    """The picture of a layout: float32, height x width x 3, values from 0 to 1."""
    shorter = min(height, width)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = plan.background
    for item in plan.placed:
        centre_x, centre_y, radius = item.x * shorter, item.y * shorter, item.radius * shorter
        reach = radius * REACH[item.shape] + 2
        left, right = max(0, int(centre_x - reach)), min(width, int(centre_x + reach) + 1)
        top, bottom = max(0, int(centre_y - reach)), min(height, int(centre_y + reach) + 1)
        x = np.arange(left, right, dtype=np.float32)[None, :] + 0.5 - centre_x
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - centre_y
        x, y = np.broadcast_arrays(x, y)
        alpha = coverage(item.shape, x, y, radius, item.angle)[:, :, None]
        part = picture[top:bottom, left:right]
        part += alpha * (np.array(item.rgb, np.float32) - part)
    return picture


def draw(scene: Scene, rng: np.random.Generator, height: int, width: int) -> Array:
    """A random picture of a scene."""
    return paint(layout(scene, rng, height, width), height, width)
