"""`visionloop compare`: several architectures under one budget, on the workspace's data, side by side.

In: a workspace, names of architectures, a budget of epochs or seconds for each. Out: rows for a table, the best first,
which is also one MLflow run with a child for each. Judged on the validation split: the test split decides about
promotions alone. Trainings keep their checkpoints until all are done: after `kill -9` the same command goes on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.dataset import ImageSet, load_images
from components.launcher.local import LocalLauncher
from components.params import Params, load_params
from components.registry import tracking
from components.registry.intervals import bootstrap
from components.report import Report, Row, Several, Silent, Terminal
from components.settings import Settings
from components.tasks import Outputs, Task, task_named
from components.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from torch import nn

CONFIDENCE = 0.95
TIMING_S = 1.0
CALIBRATION = 64  # images; enough for a latency, the accuracy of this engine is not told


def compare(
    workspace: Workspace,
    settings: Settings,
    archs: Sequence[str],
    epochs: int | None = None,
    seconds: float | None = None,
) -> list[Row]:
    """Train each of `archs` for `epochs` (default: those of params.yaml) or about `seconds`; return the table's rows.

    Raises ZooError for a name that there is not, or a net that cannot take images of this size, before any training.
    """
    params = load_params(workspace.params)
    task, launcher = task_named(params.task), LocalLauncher(settings.workers)
    if not workspace.splits.is_file():
        raise WorkspaceError("The images have no splits yet. Run `visionloop stage split` first.")
    _check(archs, task, params)
    images = load_images(workspace, params.image, params.ingest, ("train", "val"), launcher, Terminal())
    parent = tracking.start_run(settings, f"compare {' '.join(archs)}", {"reason": "compare"}, {})
    status = "FAILED"
    try:
        rows = [
            _one(workspace, settings.model_copy(update={"parent_run": parent}), images, task, each)
            for each in _recipes(archs, params, epochs, seconds, images, task)
        ]
        rows.sort(key=lambda row: -float(str(row[task.primary])))
        tracking.log_table(settings, parent, "comparison", rows)
        status = "FINISHED"
    finally:
        tracking.end_run(settings, parent, status)
    shutil.rmtree(workspace.state / "compare", ignore_errors=True)
    return rows


def _check(archs: Sequence[str], task: Task, params: Params) -> None:
    from components.model.zoo import build, check_size

    for arch in archs:
        check_size(build(task.head, arch, 2, "none"), arch, params.image.size)


def _recipes(
    archs: Sequence[str], params: Params, epochs: int | None, seconds: float | None, images: ImageSet, task: Task
) -> list[Params]:
    """params.yaml for each architecture, with its number of epochs."""
    from components.model.pace import epochs_within

    found = []
    for arch in dict.fromkeys(archs):
        train = replace(params.train, arch=arch, folds=0, launcher="local", epochs=epochs or params.train.epochs)
        if seconds is not None:
            train = replace(train, epochs=epochs_within(seconds, images, train, params.image, task))
        found.append(replace(params, train=train))
    return found


def _one(workspace: Workspace, settings: Settings, images: ImageSet, task: Task, params: Params) -> Row:
    """Train one, judge it on val, and time its engine; all in an MLflow run of its own."""
    from components.model.train import train

    arch = params.train.arch
    place = workspace.state / "compare" / arch.replace("/", "-")
    clock = _Clock()
    with tracking.stage_report(settings, arch) as tracked:
        report = Several((Terminal(), tracked, clock))
        train(images, place / "model", place / "none", place / "checkpoints", params.train, params.image, task, report)
        row = {
            "arch": arch,
            **_judged(images.of("val"), place / "model", task, params),
            "epochs": params.train.epochs,
            "seconds": round(clock.seconds, 2),
            **_costs(images, place / "model", params, report),
        }
        report.metrics({name: float(value) for name, value in row.items() if isinstance(value, int | float)})
    return row


@dataclass
class _Clock(Silent):
    """Adds up the seconds of epochs, also of those that an earlier, killed run has told."""

    seconds: float = field(default=0.0)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:  # noqa: ARG002
        self.seconds += values.get("seconds", 0.0)


def _judged(val: ImageSet, model: Path, task: Task, params: Params) -> dict[str, float]:
    """The primary metric on val with its interval, of the PyTorch model."""
    from components.model.card import read_card
    from components.model.device import best_device, outputs_of
    from components.model.zoo import load_model

    card = read_card(model / "model.json")
    judge, classes = task_named(card.task, card.thresholds), card.classes
    outputs = outputs_of(load_model(model).to(best_device()), val.pixels)
    value = judge.metrics(outputs, judge.targets(val, classes), classes, params.evaluate)[task.primary]
    low, high = _interval(judge, outputs, val, classes, params)
    return {task.primary: round(value, 4), "low": round(low, 4), "high": round(high, 4)}


def _interval(
    task: Task, outputs: Outputs, val: ImageSet, classes: Sequence[str], params: Params
) -> tuple[float, float]:
    targets = task.targets(val, classes)
    measure = task.measure(task.primary, outputs, targets, classes, params.evaluate)
    if measure is None:
        scores = task.scores(outputs, targets, classes)
        return bootstrap(len(val), lambda places: float(scores[places].mean()), CONFIDENCE)
    return bootstrap(len(val), measure, CONFIDENCE)


def _costs(images: ImageSet, model: Path, params: Params, report: Report) -> dict[str, float | str | None]:
    """Millions of parameters, and milliseconds of one image in the engine of lowest precision that is here."""
    from components.model.zoo import load_model

    net = load_model(model)
    size = sum(weight.numel() for weight in net.parameters()) / 1e6
    try:
        name, latency = _compiled_latency(net, images, params)
    except Exception as error:  # whatever a vendor raises: the comparison goes on without this number
        report.line(
            f"compare: {params.train.arch} could not be compiled here: {next(iter(str(error).splitlines()), '')}"
        )
        name, latency = "", None
    return {"parameters_m": round(size, 2), "latency_ms": latency, "engine": name}


def _compiled_latency(net: nn.Module, images: ImageSet, params: Params) -> tuple[str, float]:
    from components.engine import target_named
    from components.engine.benchmark import some_batch, take_turns
    from components.engine.compile import AUTO
    from components.engine.export import write_onnx

    target = next(target for target in map(target_named, AUTO) if not target.missing())
    precision = [each for each in target.PRECISIONS if not target.lacks(each)][-1]
    pixels = images.of("val").pixels[:CALIBRATION]
    with tempfile.TemporaryDirectory() as folder:
        onnx, built = Path(folder) / "model.onnx", Path(folder) / "engine"
        built.mkdir()
        write_onnx(net, params.image.size, params.export.opset, onnx)
        target.build(onnx, precision, pixels, 1, built)
        run = target.load(built, precision).run
        timed = take_turns({"engine": run}, some_batch(pixels, 1), TIMING_S)["engine"]
    return f"{target.NAME} {precision}", round(timed.p50_ms, 3)
