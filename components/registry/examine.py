"""A bundle and the frozen test images -> how the model in it does, as `Judged` for the gate.

In: the bundle as it would serve, engine loaded from its files. Out: scores and metrics of the compiled model, latency
of single images in ms, size in MB. Models that know different classes are put on one list of classes: an image of a
class that a model does not know is one that it gets wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.data.dataset import ImageSet
from components.engine import Engine, onnxruntime, run_batches
from components.engine.benchmark import some_batch, take_turns
from components.engine.compile import SAME
from components.params import Params
from components.registry.bundle import Bundle
from components.registry.gate import Judged, Parity
from components.tasks import Task, task_named

TIMING_S = 0.5  # of single images


def examine(bundle: Bundle, images: ImageSet, classes: Sequence[str], params: Params, limits: bool) -> Judged:
    """Run the test `images` through the bundle's engine; `classes` has all of the bundle's, and of the images'.

    With `limits` also measure what the gate limits: latency, size, and parity with the ONNX file of the engine.
    """
    engine = bundle.load_engine()
    task = task_named(bundle.card.task, bundle.card.thresholds)
    outputs = task.widen(run_batches(engine, images.pixels), bundle.card.classes, classes)
    targets = task.targets(images, classes)
    metrics = task.metrics(outputs, targets, classes, params.evaluate)
    return Judged(
        image_ids=images.ids,
        classes=classes,
        scores=task.scores(outputs, targets, classes),
        class_scores=task.class_scores(outputs, targets, classes),
        metrics=metrics | (_costs(bundle, engine, images) if limits else {}),
        parity=_parity(bundle, engine, images, task, params) if limits else None,
        measure=task.measure(params.promote.metric, outputs, targets, classes, params.evaluate),
    )


def _costs(bundle: Bundle, engine: Engine, images: ImageSet) -> dict[str, float]:
    timing = take_turns({"engine": engine.run}, some_batch(images.pixels, 1), TIMING_S)["engine"]
    files = [bundle.path / "engine" / name for name in bundle.engine_info["files"]]
    size = sum(file.stat().st_size for file in files) / 1e6
    return {"latency_p50_ms": timing.p50_ms, "latency_p99_ms": timing.p99_ms, "size_mb": size}


def _parity(bundle: Bundle, engine: Engine, images: ImageSet, task: Task, params: Params) -> Parity:
    """On `export.parity_images` spread over `images`."""
    places = np.unique(np.linspace(0, len(images) - 1, params.export.parity_images).astype(int))
    pixels = images.pixels[places]
    onnx = onnxruntime.load(bundle.path, "fp32")
    same = task.agreement(run_batches(engine, pixels), run_batches(onnx, pixels), bundle.card.classes)
    gate = params.compile.gates.get(engine.precision, SAME)
    return Parity(round(float(same.sum())), len(places), gate.min_agreement)
