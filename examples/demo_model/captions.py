"""Says a scene in words, in many phrasings; `plain_caption` is the one plain phrasing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .scenes import COLOURS, SHAPES, Item, Scene

PLACE_PHRASES = {
    "left": ("on the left", "on the left", "at the left", "to the left", "on the left side", "left"),
    "right": ("on the right", "on the right", "at the right", "to the right", "on the right side", "right"),
    "top": ("at the top", "at the top", "on top", "on the top", "in the top", "top"),
    "bottom": ("at the bottom", "at the bottom", "on the bottom", "in the bottom", "bottom"),
    "centre": (
        "in the centre",
        "in the centre",
        "in the center",
        "in the middle",
        "at the centre",
        "at the center",
        "centre",
        "center",
        "middle",
    ),
}
SIZE_WORDS = {
    "small": ("small", "small", "small", "little", "tiny"),
    "large": ("large", "large", "large", "big", "huge"),
}
BACKGROUND_ENDS = (
    " on {article} {colour} background",
    " on {article} {colour} background",
    " on {article} {colour} background",
    " on {colour}",
    " on {colour} background",
    " with {article} {colour} background",
    " against {article} {colour} background",
    " over {article} {colour} background",
    ", {colour} background",
    ", {article} {colour} background",
)
BACKGROUND_STARTS = (
    "{colour} background, ",
    "on {article} {colour} background, ",
    "{article} {colour} background with ",
)
OPENINGS = ("a picture of ", "an image of ", "a drawing of ", "picture of ", "there is ", "draw ")
JOINTS = (" and ", " and ", " and ", ", ", ", and ", " with ")


def article(word: str) -> str:
    """The indefinite article for a word."""
    return "an" if word[0] in "aeio" else "a"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


ANY_SHAPE = "shape"


def with_gaps(scene: Scene, rng: np.random.Generator, chance: float) -> Scene:
    """The scene with, by chance, a shape's colour left out ("a circle") or its kind ("a red shape").

    Seeing either attribute without the other is what teaches the model that they are independent.
    """
    items = list(scene.items)
    for index, item in enumerate(items):
        if rng.random() < chance:
            leave_colour_out = rng.random() < 0.5
            items[index] = replace(item, colour="") if leave_colour_out else replace(item, shape=ANY_SHAPE)
    return Scene(tuple(items), scene.background)


def _item_phrase(item: Item, rng: np.random.Generator, articles: bool) -> str:
    words = [word for word in (item.colour, item.shape) if word]
    if item.size:
        words.insert(0, _pick(rng, SIZE_WORDS[item.size]))
    if articles:
        words.insert(0, "the" if rng.random() < 0.06 else article(words[0]))
    phrase = " ".join(words)
    if not item.place:
        return phrase
    place = _pick(rng, PLACE_PHRASES[item.place])
    if " " in place and rng.random() < 0.06:
        return f"{place} {phrase}"
    return f"{phrase}, {place}" if rng.random() < 0.08 else f"{phrase} {place}"


def _background(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """What to put before and after the shapes to state the background."""
    colour = scene.background
    if colour is None:
        if rng.random() > 0.08:
            return "", ""
        colour = "grey" if rng.random() < 0.7 else "gray"
    at_start = rng.random() < 0.12
    form = _pick(rng, BACKGROUND_STARTS if at_start else BACKGROUND_ENDS)
    text = form.format(colour=colour, article="the" if rng.random() < 0.06 else article(colour))
    return (text, "") if at_start else ("", text)


def _unknown_word(rng: np.random.Generator) -> str:
    letters = rng.integers(97, 123, int(rng.integers(3, 9)))
    return "".join(chr(letter) for letter in letters)


def _with_unknown_words(text: str, rng: np.random.Generator) -> str:
    """The text with one or two made-up words put in, so that strange words do not upset the encoders."""
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 3))):
        words.insert(int(rng.integers(len(words) + 1)), _unknown_word(rng))
    return " ".join(words)


def _cased(text: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.76:
        return text
    if draw < 0.9:
        return text[:1].upper() + text[1:]
    return text.title() if draw < 0.95 else text.upper()


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A random way of saying the scene."""
    articles = bool(rng.random() < 0.8)
    before, after = _background(scene, rng)
    opening = _pick(rng, OPENINGS) if not before and rng.random() < 0.1 else ""
    text = _pick(rng, JOINTS).join(_item_phrase(item, rng, articles) for item in scene.items)
    text = f"{before}{opening}{text}{after}"
    if rng.random() < 0.08:
        text = _with_unknown_words(text, rng)
    if rng.random() < 0.15:
        text += "."
    return _cased(text, rng)


def plain_caption(scene: Scene) -> str:
    """The plain way of saying the scene: "a large red circle on the left on a blue background"."""
    parts = []
    for item in scene.items:
        words = " ".join(filter(None, (item.size, item.colour, item.shape)))
        place = f" {PLACE_PHRASES[item.place][0]}" if item.place else ""
        parts.append(f"{article(words)} {words}{place}")
    ground = f" on {article(scene.background)} {scene.background} background" if scene.background else ""
    return " and ".join(parts) + ground


def all_words() -> list[str]:
    """Every word that a caption can hold, made-up words apart, in a fixed order."""
    texts = [
        *BACKGROUND_ENDS,
        *BACKGROUND_STARTS,
        *OPENINGS,
        *JOINTS,
        "the gray grey of side shape shapes square",
    ]
    for phrases in (*PLACE_PHRASES.values(), *SIZE_WORDS.values()):
        texts.extend(phrases)
    texts.extend((*COLOURS, *SHAPES))
    words = " ".join(texts).replace(",", " ").replace("{article}", "a an").replace("{colour}", "").split()
    return sorted(set(words))
