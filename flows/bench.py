"""What this machine makes of it: speed of the engine and of the scan, and how often verdicts are wrong.

In: a workspace, and one part or all of them. Out: a table for each part on stdout, and the same rows in
.visionloop/bench.json, where a part that was measured again replaces its old rows. How things are measured is left to
the components; ratios are always of one run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.params import Params, load_params
from components.report import Row
from components.settings import Settings
from components.workspace import Workspace, replace_file
from flows.show import show_lines, show_table

if TYPE_CHECKING:
    from torch import nn

    from components.engine import Engine, Pixels

Part = Callable[[Workspace, Settings, Params], list[Row]]
STANDARD_ARCH, STANDARD_SIDE, STANDARD_CLASSES = "resnet18", 224, 1000
BATCHES = (1, 8)
CLEANVISION = "`uv run --group bench visionloop bench --only scan` has it"


def run_bench(workspace: Workspace, settings: Settings, only: str | None = None) -> None:
    """Measure `only`, or all parts; what was measured before an error is kept."""
    params = load_params(workspace.params)
    for name in [only] if only else PARTS:
        show_lines([f"{name}: {PARTS[name].__doc__}"])  # before, since some take minutes
        rows = PARTS[name](workspace, settings, params)
        show_table(rows)
        keep_rows(workspace.state / "bench.json", name, rows)
    show_lines([f"All rows: {workspace.state / 'bench.json'}"])


def keep_rows(path: Path, part: str, rows: Sequence[Row]) -> None:
    """Put `rows` in the place of those that the file had of `part`."""
    from components.engine.benchmark import hardware

    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    kept = [row for row in before if row["part"] != part]
    found = {"hardware": hardware(), "rows": kept + [{"part": part, "at": at, **row} for row in rows]}
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def engine(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:
    """PyTorch eager fp32 against the compiled engine: of resnet18 at 224 px, and of the champion if there is one."""
    from components.engine.benchmark import bench_engine

    pixels = _noise(STANDARD_SIDE)
    model, compiled = _standard(params, pixels)
    name = f"{STANDARD_ARCH} at {STANDARD_SIDE} px"
    rows: list[Row] = [{"model": name, **row} for row in bench_engine(model, compiled, pixels, BATCHES)]
    return rows + _champion(workspace, settings)


def _champion(workspace: Workspace, settings: Settings) -> list[Row]:
    from components.engine.benchmark import bench_engine
    from components.model.zoo import load_model
    from components.registry.bundle import open_bundle
    from components.state.database import open_state
    from components.state.ledger import champion

    serving = champion(open_state(settings.database_url))
    if serving is None:
        return []
    bundle = open_bundle(workspace.models, serving.digest)
    name = f"champion v{serving.version}, {bundle.card.arch} at {bundle.card.size} px"
    timed = bench_engine(load_model(bundle.path), bundle.load_engine(), _noise(bundle.card.size), BATCHES)
    return [{"model": name, **row} for row in timed]


def _standard(params: Params, pixels: Pixels) -> tuple[nn.Module, Engine]:
    """An untrained net, which is as fast as a trained one, and its engine at the lowest precision that it has here."""
    from components.engine import target_named
    from components.engine.compile import AUTO
    from components.engine.export import write_onnx
    from components.model.nets import Normalised
    from components.model.zoo import build

    net = build("classifier", STANDARD_ARCH, STANDARD_CLASSES, "none")
    model = Normalised(net, params.image.mean, params.image.std).eval()
    target = next(target for target in map(target_named, AUTO) if not target.missing())
    precision = [each for each in target.PRECISIONS if not target.lacks(each)][-1]
    with tempfile.TemporaryDirectory() as folder:
        onnx, built = Path(folder) / "model.onnx", Path(folder) / "engine"
        built.mkdir()
        write_onnx(model, STANDARD_SIDE, params.export.opset, onnx)
        target.build(onnx, precision, pixels, params.compile.batch, built)
        return model, target.load(built, precision)


def _noise(side: int, images: int = 32) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (images, 3, side, side), dtype=np.uint8)


def scan(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:  # noqa: ARG001
    """Images per CPU-second of the scan that ingest makes, beside CleanVision where it is installed."""
    from components.data.scan_benchmark import benchmark_scan

    rows: list[Row] = [*benchmark_scan(params.ingest)]
    if len(rows) == 1:
        rows.append({"tool": f"cleanvision: not installed, {CLEANVISION}", "images_per_cpu_s": None, "ratio": None})
    return rows


def drift(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:  # noqa: ARG001
    """How often the drift rule alarms falsely, and how surely it sees what has changed."""
    from components.launcher.local import LocalLauncher
    from components.monitoring.simulate import drift_rates

    rates = drift_rates(params.monitor, LocalLauncher(settings.workers))
    shown = ("world", "what", "rate", "bound", "promised", "kept", "streams")
    return [{name: getattr(each, name) for name in shown} for each in rates]


def promotion(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:  # noqa: ARG001
    """How often the gate promotes a challenger that is no better, and how surely one that is."""
    from components.registry.simulate import gate_errors

    return [asdict(each) for each in gate_errors(params.promote)]


def data_path(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:  # noqa: ARG001
    """How fast images reach the training, beside torchvision's ImageFolder and DataLoader with the same workers."""
    from components.model.training_benchmark import bench_data_path

    return bench_data_path(settings.workers)


def step(workspace: Workspace, settings: Settings, params: Params) -> list[Row]:  # noqa: ARG001
    """A step of training beside a bare loop of torch with the same settings."""
    from components.model.training_benchmark import bench_step

    return bench_step()


PARTS: Mapping[str, Part] = {
    "engine": engine,
    "scan": scan,
    "drift": drift,
    "promotion": promotion,
    "data_path": data_path,
    "step": step,
}
