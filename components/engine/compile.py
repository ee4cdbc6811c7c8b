"""model.onnx -> the fastest engine that still answers as fp32 does, and the table of all that was tried.

In: the exported model, training images to calibrate on, validation images to judge on. Out: the chosen engine's
files with engine.json, and rungs.json: one row for each runtime and precision, kept or refused, with the reason in
words. A rung is kept when it passes its gate (finite, not constant, agreement with fp32, accuracy whole and by class)
and, below fp32, is at least `min_speedup` times as fast as the best rung above it. ONNX Runtime's fp32 is the
reference and always kept, so that there is an engine whatever fails. Promotion is left to `components.registry`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.data.tables import file_digest
from components.engine import (
    Engine,
    EngineError,
    EngineInfo,
    Logits,
    Pixels,
    Target,
    TargetName,
    run_batches,
    target_named,
)
from components.engine.benchmark import Row, Timing, hardware, some_batch, take_turns
from components.engine.parity import Comparison, compare, useless
from components.engine.precision import calibration_set
from components.params import CompileParams, Precision, RungGate
from components.report import Report
from components.tasks import Targets, Task, task_named
from components.workspace import replace_folder

if TYPE_CHECKING:
    from components.data.dataset import ImageSet

AUTO: tuple[TargetName, ...] = ("tensorrt", "openvino", "onnxruntime")  # the first that this machine has
LADDER: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
SAME = RungGate(min_agreement=1, max_loss=0, max_class_loss=0)
SECONDS = 0.5  # of timing, for each rung and batch size


class CompileError(EngineError):
    """No engine can be made from this model here; the message says why."""


@dataclass
class Rung:
    """One runtime at one precision, and what became of it."""

    target: Target
    precision: Precision
    folder: Path
    engine: Engine | None = None
    logits: Logits | None = None  # of the validation images
    judged: Comparison | None = None
    timings: Mapping[int, Timing] = field(default_factory=dict)  # by batch size
    speedup: float | None = None  # times the fp32 of the same runtime
    reason: str = ""  # for which it is refused; empty as long as it is not

    @property
    def name(self) -> str:
        return f"{self.target.NAME} {self.precision}"


def compile_model(images: ImageSet, onnx: Path, out: Path, params: CompileParams, report: Report) -> dict[str, float]:
    """Write the chosen engine, engine.json and rungs.json into `out`, whole or not at all; return its numbers.

    `images` are train and val; `onnx` is the folder that `export` wrote. Raises CompileError when the runtime that
    params.yaml names is missing here, or when even the reference gives useless outputs.
    """
    from components.model.card import read_card

    val, model = images.of("val"), onnx / "model.onnx"
    card = read_card(onnx / "model.json")
    task, classes = task_named(card.task, card.thresholds), card.classes
    calibration = calibration_set(images, task, params.calibration_images)
    with replace_folder(out) as folder:
        rungs = _ladder(params, folder)
        for done, rung in enumerate(rungs, start=1):
            _build(rung, model, calibration.pixels, params.batch, val.pixels)
            report.progress(done, len(rungs), "build engines")
        _judge(rungs, task.targets(val, classes), classes, task, params.gates)
        _time([rung for rung in rungs if not rung.reason], val.pixels, params.batch)
        chosen = _choose(rungs, params)
        rows = [_row(rung, chosen, task.primary, params.batch) for rung in rungs]
        digest = calibration.digest if chosen.precision == "int8" else None
        _info(chosen, file_digest(model), digest, val.pixels.shape[-1], params.batch).write(chosen.folder)
        for path in chosen.folder.iterdir():
            path.rename(folder / path.name)
        for rung in rungs:
            shutil.rmtree(rung.folder)
        (folder / "rungs.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    _tell(rows, report)
    assert chosen.judged
    assert chosen.speedup
    kept = sum(not rung.reason for rung in rungs)
    return {"rungs": len(rungs), "kept": kept, task.primary: chosen.judged.metric, "speedup": chosen.speedup}


def _ladder(params: CompileParams, folder: Path) -> list[Rung]:
    """The reference, then what the runtime has of the wanted precisions, from high to low."""
    target = _target(params.target)
    wanted = [name for name in LADDER if name in params.precisions and name in target.PRECISIONS]
    plan = dict.fromkeys([("onnxruntime", "fp32"), *((target.NAME, precision) for precision in wanted)])
    return [Rung(target_named(name), precision, folder / f"{name}-{precision}") for name, precision in plan]


def _target(name: Literal["auto"] | TargetName) -> Target:
    if name == "auto":
        return next(target for target in map(target_named, AUTO) if not target.missing())
    target = target_named(name)
    if reason := target.missing():
        raise CompileError(f"compile.target is {name}, but {reason}. Set it to auto to take what this machine has.")
    return target


def _build(rung: Rung, model: Path, calibration: Pixels, batch: int, pixels: Pixels) -> None:
    """Build and load the engine and run all of `pixels`; whatever a vendor raises refuses this rung alone."""
    rung.folder.mkdir()
    if reason := rung.target.lacks(rung.precision):
        rung.reason = reason
        return
    try:
        rung.target.build(model, rung.precision, calibration, batch, rung.folder)
        rung.engine = rung.target.load(rung.folder, rung.precision)
        rung.logits = run_batches(rung.engine, pixels)
    except OSError:
        raise  # a full disk is no property of the rung
    except EngineError as error:
        rung.reason = str(error)
    except Exception as error:
        rung.reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no reason given')}"


def _judge(
    rungs: Sequence[Rung], targets: Targets, classes: Sequence[str], task: Task, gates: Mapping[Precision, RungGate]
) -> None:
    """Compare each rung with the first, the reference, and refuse those that do not pass their gate."""
    reference = rungs[0].logits
    if reference is None:
        raise CompileError(f"The reference, {rungs[0].name}, cannot be made. {rungs[0].reason}")
    if reason := useless(reference):
        raise CompileError(f"No engine can be judged on the validation images: {reason}. Train again.")
    for rung in rungs:
        if rung.logits is None:
            continue
        if reason := useless(rung.logits):
            rung.reason = reason
            continue
        rung.judged = compare(reference, rung.logits, targets, classes, task, gates.get(rung.precision, SAME))
        rung.reason = rung.judged.refusal


def _time(rungs: Sequence[Rung], pixels: Pixels, batch: int) -> None:
    """Time `rungs` in turns at batch 1, 8 and `batch`."""
    runs = {rung.name: rung.engine.run for rung in rungs if rung.engine}
    timed = {size: take_turns(runs, some_batch(pixels, size), SECONDS) for size in sorted({1, 8, batch})}
    for rung in rungs:
        rung.timings = {size: timings[rung.name] for size, timings in timed.items()}


def _choose(rungs: Sequence[Rung], params: CompileParams) -> Rung:
    """Refuse what is hardly faster than the best rung above it; return the last of the rest (of fp32, the faster)."""
    rate = {rung.name: rung.timings[params.batch].images_per_s for rung in rungs if rung.timings}
    best = rungs[0]
    for rung in (rung for rung in rungs if rung.timings):
        rung.speedup = rate[rung.name] / rate.get(f"{rung.target.NAME} fp32", rate[rungs[0].name])
        gain, lower = rate[rung.name] / rate[best.name], rung.precision != "fp32"
        if lower and gain < params.min_speedup:
            rung.reason = (
                f"{gain:.2f} times as fast as {best.name}; compile.min_speedup asks for {params.min_speedup:g}"
            )
        elif lower or gain > 1:
            best = rung
    return best


def _info(chosen: Rung, onnx: str, calibration: str | None, side: int, batch: int) -> EngineInfo:
    assert chosen.engine
    assert chosen.logits is not None
    assert chosen.speedup
    return EngineInfo(
        target=chosen.target.NAME,
        precision=chosen.precision,
        provider=chosen.engine.provider,
        files={path.name: file_digest(path) for path in sorted(chosen.folder.iterdir())},
        onnx_sha256=onnx,
        calibration_sha256=calibration,
        images=("batch", 3, side, side),
        logits=("batch", *chosen.logits.shape[1:]),
        batch=batch,
        speedup=round(chosen.speedup, 2),
        made_with=_versions(chosen.target.TOOLS),
        hardware=hardware(),
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    installed = metadata.packages_distributions()
    return {name: metadata.version(installed[name][0]) for name in packages if name in installed}


def _row(rung: Rung, chosen: Rung, metric: str, batch: int) -> Row:
    """One line of the table; None for what a refused rung never came to."""
    judged, served = rung.judged, rung.timings.get(batch)
    latencies = {
        f"{name}_ms_batch{size}": getattr(rung.timings.get(size), f"{name}_ms", None)
        for size in sorted({1, 8, batch})
        for name in ("p50", "p99")
    }
    return {
        "target": rung.target.NAME,
        "precision": rung.precision,
        "kept": not rung.reason,
        "chosen": rung is chosen,
        "reason": rung.reason,
        metric: judged.metric if judged else None,
        "agreement": judged.agreement if judged else None,
        "max_difference": judged.max_difference if judged else None,
        **latencies,
        "images_per_s": served.images_per_s if served else None,
        "speedup": rung.speedup,
        "size_mb": sum(path.stat().st_size for path in rung.folder.iterdir()) / 1e6,
    }


def _tell(rows: Sequence[Row], report: Report) -> None:
    """The table, a line for each rung, and the chosen one's numbers as metrics."""
    report.table("rungs", rows)
    for row in rows:
        fate = "chosen" if row["chosen"] else row["reason"] or "kept"
        speed = f", {row['images_per_s']:,.0f} images/s" if row["images_per_s"] else ""
        report.line(f"{row['target']} {row['precision']}{speed}: {fate}")
    numbers = next(row for row in rows if row["chosen"])
    report.metrics({f"engine/{name}": value for name, value in numbers.items() if type(value) is float})
