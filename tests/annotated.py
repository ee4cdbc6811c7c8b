"""Pictures with annotation files for tests, and readers that show what a source said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.data.annotations import Annotation, LabelError, areas_text, labels_text, things_text
from components.data.sources import Found, open_source

WIDTH, HEIGHT = 40, 30
SIZE = (WIDTH, HEIGHT)
CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})


def labels(said: Annotation) -> str:
    """As a task of several labels an image reads."""
    if said.labels is None:
        raise LabelError("no_label", "no labels")
    return labels_text(said.labels)


def boxes(said: Annotation) -> str:
    """As a task of boxes reads."""
    if said.things is None:
        raise LabelError("no_boxes", "no boxes")
    return things_text(said.things, said.size)


def areas(said: Annotation) -> str:
    """As a task of areas reads that takes nothing but areas."""
    if said.areas is None or said.size is None:
        raise LabelError("no_areas", "no areas")
    return areas_text(said.areas, said.size)


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    """Noise in a PNG, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def pictures(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        picture(folder / name, seed)
    return folder


def mask(path: Path, values: Any, mode: str = "L") -> Path:
    """A grey or palette PNG of these numbers of classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, dtype=np.uint8))
    if mode == "P":
        image = image.convert("P")
        image = Image.frombytes("P", image.size, np.asarray(values, dtype=np.uint8).tobytes())
        image.putpalette([channel for number in range(256) for channel in (number, 255 - number, 0)])
    image.save(path)
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco(
    path: Path,
    images: Mapping[int, str],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]] = CATEGORIES,
) -> Path:
    """A JSON of images by id, all of SIZE; annotations get their id from their place where they have none."""
    rows = [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in images.items()]
    numbered = [{"id": place, "iscrowd": 0} | dict(each) for place, each in enumerate(annotations, 1)]
    return written(path, json.dumps({"images": rows, "annotations": numbered, "categories": list(categories)}))


def voc(path: Path, *objects: str, filename: str = "", size: tuple[int, int] | None = SIZE) -> Path:
    """An XML with a line for each object, made by `voc_object`; the first of them is line 3."""
    dimensions = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    lines = ["<annotation>", f"<filename>{filename}</filename>{dimensions}", *objects, "</annotation>"]
    return written(path, "\n".join(lines))


def voc_object(name: str, *edges: object, more: str = "") -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{edge}</{key}>" for key, edge in zip(names, edges, strict=True)) if edges else ""
    return f"<object><name>{name}</name>{more}{f'<bndbox>{box}</bndbox>' if box else ''}</object>"


def found_in(path: Path | str, read: Callable[[Annotation], str], **options: Any) -> list[Found]:
    return list(open_source(path, read, **options).files())


def told(path: Path | str, read: Callable[[Annotation], str], **options: Any) -> dict[str, str]:
    """Label, or reason of the objection, by name."""
    found = found_in(path, read, **options)
    return {each.name: each.label or (each.objection or ("nothing",))[0] for each in found}


def objections(path: Path | str, read: Callable[[Annotation], str], **options: Any) -> dict[str, str]:
    """Reason and detail of each objection, by name."""
    found = found_in(path, read, **options)
    return {each.name: ": ".join(each.objection) for each in found if each.objection}
