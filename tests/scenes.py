"""Drawn scenes with several shapes each, and what can be said of them: classes, boxes, masks; in the usual layouts."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPES = ("circle", "square")
COLOURS = {"circle": (230, 60, 50), "square": (60, 90, 235)}
SIDE = 96  # px


@dataclass(frozen=True)
class Scene:
    image: Image.Image
    boxes: list[tuple[str, int, int, int, int]]  # shape, left, top, right, bottom
    mask: NDArray[np.uint8]  # 0 ground, 1 circle, 2 square


def scene(seed: int, side: int = SIDE) -> Scene:
    """None to three shapes that do not overlap, on noisy ground; all of it from `seed`."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(60, 120, (side, side, 3), dtype=np.uint8))
    mask = Image.new("L", (side, side))
    boxes: list[tuple[str, int, int, int, int]] = []
    for cell in random.permutation(4)[: random.integers(0, 4)]:
        shape = SHAPES[random.integers(0, len(SHAPES))]
        size = int(random.integers(side // 4, side // 2 - 4))
        left, top = (int(at * side // 2 + random.integers(0, side // 2 - size)) for at in (cell % 2, cell // 2))
        corners = (left, top, left + size, top + size)
        for page, colour in ((image, COLOURS[shape]), (mask, 1 + SHAPES.index(shape))):
            pen = ImageDraw.Draw(page)
            (pen.ellipse if shape == "circle" else pen.rectangle)(corners, fill=colour)
        boxes.append((shape, left, top, left + size + 1, top + size + 1))
    return Scene(image, boxes, np.asarray(mask).copy())


def write_coco(folder: Path, seeds: range) -> Path:
    """folder/images/*.png and folder/annotations.json."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for seed in seeds:
        drawn = scene(seed)
        drawn.image.save(folder / "images" / f"{seed:05d}.png")
        images.append({"id": seed, "file_name": f"{seed:05d}.png", "width": SIDE, "height": SIDE})
        for shape, left, top, right, bottom in drawn.boxes:
            box = [left, top, right - left, bottom - top]
            row = {"id": len(annotations) + 1, "image_id": seed, "category_id": SHAPES.index(shape) + 1, "bbox": box}
            annotations.append({**row, "area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(SHAPES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def write_masks(folder: Path, seeds: range) -> Path:
    """folder/images/*.png, folder/masks/*.png of class numbers, and folder/classes.txt."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for seed in seeds:
        drawn = scene(seed)
        drawn.image.save(folder / "images" / f"{seed:05d}.png")
        Image.fromarray(drawn.mask).save(folder / "masks" / f"{seed:05d}.png")
    (folder / "classes.txt").write_text("0 ground\n1 circle\n2 square\n")
    return folder


def write_table(folder: Path, seeds: range) -> Path:
    """folder/*.png and folder/labels.csv with all shapes of an image in one cell."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for seed in seeds:
            drawn = scene(seed)
            if drawn.boxes:
                drawn.image.save(folder / f"{seed:05d}.png")
                rows.writerow([f"{seed:05d}.png", "|".join(sorted({box[0] for box in drawn.boxes}))])
    return folder / "labels.csv"
