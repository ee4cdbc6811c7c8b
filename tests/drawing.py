"""Small pictures for tests: shapes on noisy ground, one class a shape, drawn from a seed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "cross", "square", "triangle")


def draw(shape: str, seed: int, size: int = 32) -> Image.Image:
    """One RGB picture of `shape`: its place, size, colour and the ground's noise come from `seed`."""
    random = np.random.default_rng([SHAPES.index(shape), seed])
    ground = random.integers(0, 90, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    radius = random.uniform(0.22, 0.36) * size
    x, y = random.uniform(radius + 1, size - radius - 1, 2)
    colour = tuple(int(value) for value in random.integers(150, 256, 3))
    box = (x - radius, y - radius, x + radius, y + radius)
    pen = ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    else:
        width = max(2, round(radius / 2))
        pen.line((x - radius, y, x + radius, y), fill=colour, width=width)
        pen.line((x, y - radius, x, y + radius), fill=colour, width=width)
    return image


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def draw_folder(folder: Path, per_class: int, shapes: Sequence[str] = SHAPES, size: int = 32, first: int = 0) -> Path:
    """`folder`/<shape>/<seed>.png with `per_class` pictures each, seeds counting from `first`; return `folder`."""
    for shape in shapes:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + per_class):
            draw(shape, seed, size).save(folder / shape / f"{seed:05d}.png")
    return folder
