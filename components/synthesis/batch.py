"""A batch of made images, written to a folder that ingest reads.

In: a stock of cut-outs and backgrounds, the `synthesize:` section. Out: a folder of PNGs and labels.jsonl, whole or not
at all, and a `Source` of it whose files have the origin "synthetic". Image n depends on the seed and n alone, so the
same call makes the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.data.annotations import Annotation, things_in
from components.data.sources import Found, Read, heard
from components.data.tables import file_digest
from components.params import SynthesizeParams
from components.report import Report
from components.synthesis import SynthesisError
from components.synthesis.arrange import Stock, arranged
from components.synthesis.compose import Composite, compose, said_of
from components.workspace import replace_folder

LIST = "labels.jsonl"
TRIES = 20  # draws for an image until at least one object shows


@dataclass(frozen=True)
class Made:
    """A made image: all that is said of it, and what it was made of."""

    composite: Composite
    said: Annotation
    made_of: str


def make_image(stock: Stock, number: int, params: SynthesizeParams) -> Made:
    """Image `number` of the batch; raise SynthesisError when no object shows in any of TRIES draws."""
    random = np.random.default_rng([params.seed, number])
    ground = stock.grounds[int(random.integers(len(stock.grounds)))]
    picture, areas = ground.open()
    for _ in range(TRIES):
        layers = arranged(stock, picture, params, random)
        composite = compose(picture, layers, params, float(random.uniform(0, 2 * math.pi)))
        if composite.objects:
            names = ", ".join(each.cutout.name for each in composite.objects)
            made_of = f"synthesis {params.seed}/{number:06d}: {names} on {ground.name}"
            return Made(composite, said_of(composite, areas, stock.known), made_of)
    raise SynthesisError(
        f"No object shows on the background {ground.name} ({picture.shape[1]} x {picture.shape[0]} px) in {TRIES} "
        "tries: objects are too small there. Raise synthesize.size, or give larger backgrounds."
    )


def write_batch(stock: Stock, params: SynthesizeParams, out: Path, report: Report) -> None:
    """Make `synthesize.images` images in the folder `out`, which is replaced as a whole."""
    with replace_folder(out) as folder, (folder / LIST).open("w", encoding="utf-8") as lines:
        for number in range(params.images):
            made, name = make_image(stock, number, params), f"{number:06d}.png"
            Image.fromarray(made.composite.picture).save(folder / name, "PNG")
            lines.write(json.dumps({"path": name, "made_of": made.made_of, **_plain(made.said)}) + "\n")
            report.progress(number + 1, params.images, "make images")


@dataclass(frozen=True)
class BatchSource:
    """The images of a folder that `write_batch` wrote, each with the label that `read` makes of what is said."""

    folder: Path
    read: Read

    def files(self) -> Iterator[Found]:
        with (self.folder / LIST).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                path, name = self.folder / row["path"], f"synthetic/{row['path']}"
                yield replace(heard(path, name, _said(row), self.read, row["made_of"]), origin="synthetic")

    def image_ids(self) -> frozenset[str]:
        """As the dataset names them."""
        return frozenset(file_digest(path) for path in self.folder.glob("*.png"))


def _plain(said: Annotation) -> dict[str, object]:
    things = [{"label": each.label, "box": list(each.box), "mask": each.mask} for each in said.things or ()]
    return {"labels": said.labels, "things": things, "areas": said.areas, "size": said.size}


def _said(row: Mapping[str, Any]) -> Annotation:
    width, height = row["size"]
    return Annotation(tuple(row["labels"]), things_in(json.dumps(row["things"])), row["areas"], (width, height))
