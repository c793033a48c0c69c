"""Reads a picture with fixed classical code: background, and the shape, colour, place and size of what lies on it.

Nothing here is learned and nothing here sees the prompt; numpy only. Shapes are told apart by laying drawn
templates over each connected region; a region that no template fits well is "unclear".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .drawing import ANCHORS, AREA, coverage
from .scenes import COLOURS, DEFAULT_BACKGROUND, DEFAULT_BACKGROUND_RGB, SHAPES

Array = np.ndarray

DIFFERENT = 0.22
SMALLEST_AREA = 0.004
CLEAR_MATCH = 0.75
SIZE_BORDER = 0.15
ANGLES = tuple(math.radians(degrees) for degrees in range(-20, 21, 4))
PALETTE = {**COLOURS, DEFAULT_BACKGROUND: DEFAULT_BACKGROUND_RGB}


@dataclass(frozen=True)
class Found:
    """One region of a picture, and what it looks like; match tells how well the best template fits, up to 1."""

    shape: str
    colour: str
    place: str
    size: str
    match: float
    area: float


@dataclass(frozen=True)
class Reading:
    """What a picture shows; the largest region comes first."""

    background: str
    found: tuple[Found, ...]


def nearest_colour(rgb: Array) -> str:
    """The palette's colour next to a value of red, green and blue from 0 to 1."""
    names = list(PALETTE)
    distances = [float(np.linalg.norm(rgb - np.array(PALETTE[name]) / 255)) for name in names]
    return names[int(np.argmin(distances))]


def _neighbours(values: Array, outside: float | int | bool) -> list[Array]:
    """The array shifted by one in each of the four directions."""
    padded = np.pad(values, 1, constant_values=outside)
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def regions(mask: Array) -> list[Array]:
    """The connected regions of a mask, each as a mask of its own."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(mask, np.maximum.reduce([labels, *_neighbours(labels, 0)]), 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    return [labels == label for label in np.unique(labels[mask])]


def _background(picture: Array) -> Array:
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    sides = np.concatenate([picture[:, :2].reshape(-1, 3), picture[:, -2:].reshape(-1, 3)])
    return np.median(np.concatenate([border, sides]), axis=0)


def _inner_colour(picture: Array, mask: Array) -> Array:
    """The middle value of the pixels that lie wholly inside a region."""
    inner = mask & np.logical_and.reduce(_neighbours(mask, False))
    return np.median(picture[inner if inner.any() else mask], axis=0)


def _opacity(picture: Array, mask: Array, background: Array, colour: Array) -> Array:
    """How much of each pixel in and right around a region has the region's colour."""
    near = mask
    for _ in range(2):
        near = near | np.logical_or.reduce(_neighbours(near, False))
    step = colour - background
    return np.where(near, np.clip((picture - background) @ step / float(step @ step), 0, 1), 0)


def _fit(shape: str, opacity: Array, x: Array, y: Array) -> float:
    """The best overlap (soft intersection over union) of a shape of the region's own area, over all angles."""
    radius = math.sqrt(float(opacity.sum()) / AREA[shape])
    best = 0.0
    for angle in (0.0,) if shape in ("circle", "ring") else ANGLES:
        template = coverage(shape, x, y, radius, angle)
        overlap = np.minimum(opacity, template).sum() / np.maximum(opacity, template).sum()
        best = max(best, float(overlap))
    return best


def _read_region(picture: Array, mask: Array, background: Array) -> Found:
    height, width = mask.shape
    colour = _inner_colour(picture, mask)
    opacity = _opacity(picture, mask, background, colour)
    rows, columns = np.nonzero(opacity > 0)
    top, bottom = max(rows.min() - 2, 0), rows.max() + 3
    left, right = max(columns.min() - 2, 0), columns.max() + 3
    opacity = opacity[top:bottom, left:right]
    y, x = np.mgrid[top : top + opacity.shape[0], left : left + opacity.shape[1]] + 0.5
    total = float(opacity.sum())
    centre_x, centre_y = float((opacity * x).sum() / total), float((opacity * y).sum() / total)
    fits = {shape: _fit(shape, opacity, x - centre_x, y - centre_y) for shape in SHAPES}
    shape = max(fits, key=lambda name: fits[name])
    radius = math.sqrt(total / AREA[shape]) / min(height, width)
    return Found(
        shape if fits[shape] >= CLEAR_MATCH else "unclear",
        nearest_colour(colour),
        _nearest_place(centre_x / width, centre_y / height),
        "large" if radius > SIZE_BORDER else "small",
        fits[shape],
        total / min(height, width) ** 2,
    )


def _nearest_place(x: float, y: float) -> str:
    return min(ANCHORS, key=lambda place: math.dist(ANCHORS[place], (x, y)))


def read_picture(picture: Array) -> Reading:
    """What a picture (height x width x 3, values from 0 to 1) shows."""
    background = _background(picture)
    mask = np.linalg.norm(picture - background, axis=2) > DIFFERENT
    smallest = SMALLEST_AREA * min(mask.shape) ** 2
    found = [_read_region(picture, region, background) for region in regions(mask) if region.sum() >= smallest]
    found.sort(key=lambda item: -item.area)
    return Reading(nearest_colour(background), tuple(found))
