"""Validation and test images through the compiled engine -> the drift reference that travels in the bundle.

In: an engine, its card, images and the manifest. Out: one row an image: what the model answered, how sure it was, and
the statistics that ingest measured. Training images are left out, since a model is surer of those than of any other.
What counts as drift from this table is `components.monitoring`'s to say.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from components.data.dataset import ImageSet
from components.data.tables import STATISTICS
from components.engine import Engine, run_batches
from components.tasks import Task

REFERENCE = pa.schema(
    [
        ("image_id", pa.string()),
        ("truth", pa.string()),
        ("label", pa.string()),  # as the model answered
        ("confidence", pa.float32()),
        ("margin", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),  # in the order of the card's classes
        ("score", pa.float64()),  # Task.scores: how right the answer was
        ("format", pa.string()),
        *[(name, pa.float32()) for name in STATISTICS],
    ]
)


def make_reference(
    engine: Engine, classes: tuple[str, ...], images: ImageSet, manifest: pa.Table, task: Task
) -> pa.Table:
    """The table REFERENCE of `images`, in their order, with a column more for each signal of the task."""
    outputs = run_batches(engine, images.pixels)
    answers = task.decode(outputs, classes)
    rows = pc.index_in(pa.array(images.ids), value_set=manifest["image_id"])
    columns = {name: manifest[name].take(rows) for name in ("format", *STATISTICS)} | {
        "image_id": images.ids,
        "truth": images.labels,
        "label": [answer.label for answer in answers],
        "confidence": [answer.confidence for answer in answers],
        "margin": [answer.margin for answer in answers],
        "score": task.scores(outputs, task.targets(images, classes), classes),
        "probabilities": [list(answer.probabilities.values()) for answer in answers],
    }
    table = pa.table({name: columns[name] for name in REFERENCE.names}).cast(REFERENCE)
    for name in task.signals:
        table = table.append_column(name, pa.array([answer.signals[name] for answer in answers], pa.float32()))
    return table
