"""Pictures with several objects for tests of detection, and the outputs of a detector that is as good as is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from components.data.annotations import Box, Thing, things_text
from components.data.dataset import ImageSet
from components.tasks.detector_outputs import LOGITS

CLASSES = ("disc", "square")
ACROSS = 16  # cells of the one grid of `outputs`
SILENT = -9.0  # logit

Object = tuple[str, float, float, float, float]  # class; left, top, right, bottom in shares
Answer = tuple[str, float, float, float, float, float]  # the same and a score


def scene(seed: int, side: int = 64, most: int = 3) -> tuple[NDArray[np.uint8], list[Object]]:
    """uint8 (3, side, side) with one to `most` objects that do not touch, and where they are."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 70, (side, side, 3), dtype=np.uint8))
    pen, objects = ImageDraw.Draw(image), []
    for quarter in random.permutation(4)[: random.integers(1, most + 1)]:
        width, height = random.uniform(0.2, 0.44, 2)
        left = (quarter % 2) / 2 + random.uniform(0.02, 0.48 - width)
        top = (quarter // 2) / 2 + random.uniform(0.02, 0.48 - height)
        name = CLASSES[random.integers(2)]
        edges = [round(edge * side) for edge in (left, top, left + width, top + height)]
        colour = (240, 210, 60) if name == "disc" else (70, 140, 250)
        draw = pen.ellipse if name == "disc" else pen.rectangle
        draw((edges[0], edges[1], edges[2] - 1, edges[3] - 1), fill=colour)
        objects.append((name, *(edge / side for edge in edges)))
    return np.asarray(image).transpose(2, 0, 1).copy(), objects


def images_of(objects: Sequence[Sequence[Object]], size: tuple[int, int] = (100, 100), **changes: object) -> ImageSet:
    """Blank pictures of `size` px with these objects."""
    labels = [things_text([_thing(each, size) for each in one]) for one in objects]
    pixels = np.zeros((len(labels), 3, 8, 8), dtype=np.uint8)
    names = [f"{number:04d}" for number in range(len(labels))]
    return ImageSet(names, labels, ["train"] * len(labels), pixels, [size] * len(labels), **changes)  # type: ignore[arg-type]


def scenes(count: int, first: int = 0, side: int = 64) -> ImageSet:
    """Drawn pictures, all of the train split."""
    drawn = [scene(seed, side) for seed in range(first, first + count)]
    labels = [things_text([_thing(each, (side, side)) for each in objects]) for _, objects in drawn]
    names = [f"{seed:04d}" for seed in range(first, first + count)]
    return ImageSet(names, labels, ["train"] * count, np.stack([each for each, _ in drawn]), [(side, side)] * count)


def outputs(answers: Sequence[Sequence[Answer]], classes: Sequence[str] = CLASSES) -> NDArray[np.float32]:
    """(N, 256, 7 + C): what a detector says that answers just these; no two objects in one cell."""
    row, column = np.divmod(np.arange(ACROSS**2), ACROSS)
    said = np.full((len(answers), ACROSS**2, LOGITS + len(classes)), SILENT, dtype=np.float32)
    said[..., :4], said[..., 4], said[..., 5], said[..., 6] = 1.0, column, row, ACROSS
    for rows, found in zip(said, answers, strict=True):
        for name, left, top, right, bottom, score in found:
            x, y = (left + right) / 2 * ACROSS, (top + bottom) / 2 * ACROSS
            cell = rows[int(y) * ACROSS + int(x)]
            across, down = int(x) + 0.5, int(y) + 0.5
            cell[:4] = across - left * ACROSS, down - top * ACROSS, right * ACROSS - across, bottom * ACROSS - down
            cell[LOGITS + list(classes).index(name)] = np.log(score / (1 - score))
    return said


def _thing(each: Object, size: tuple[int, int]) -> Thing:
    name, *edges = each
    box = Box(*(edge * size[number % 2] for number, edge in enumerate(edges)))
    return Thing(name, box)
