"""Compile: the fastest engine that passes its gate is chosen, and the table says why the others were not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.data.tables import file_digest
from components.engine import EngineError, load_engine, read_info
from components.engine.compile import CompileError, compile_model
from components.engine.precision import calibration_set
from components.params import CompileParams, RungGate
from components.tasks import task_named
from tests.conftest import ReportInMemory
from tests.tiny import CHANNELS, SHAPES, shape_images, write_model

IMAGES = shape_images()
TASK = task_named("classification")
LENIENT = RungGate(min_agreement=0, max_loss=1, max_class_loss=1)
PARAMS = CompileParams(
    target="onnxruntime",
    precisions=("fp32", "bf16", "fp16", "int8"),
    batch=8,
    min_speedup=1e-6,  # every speed will do
    calibration_images=32,
    gates=dict.fromkeys(("fp32", "bf16", "fp16", "int8"), LENIENT),
)


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.engine.compile.SECONDS", 0.02)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("export"))


def rows(out: Path) -> dict[str, dict]:
    table = json.loads((out / "rungs.json").read_text(encoding="utf-8"))
    return {f"{row['target']} {row['precision']}": row for row in table}


def test_int8_that_passes_is_chosen_and_described(exported: Path, tmp_path: Path, report: ReportInMemory) -> None:
    out = tmp_path / "engine"
    summary = compile_model(IMAGES, exported, out, PARAMS, report)
    info, engine, table = read_info(out), load_engine(out), rows(out)
    assert (engine.target, engine.precision) == (info.target, info.precision) == ("onnxruntime", "int8")
    assert info.onnx_sha256 == file_digest(exported / "model.onnx")
    assert info.calibration_sha256 == calibration_set(IMAGES, TASK, 32).digest
    assert (info.images, info.logits, info.batch) == (("batch", 3, 32, 32), ("batch", 4), 8)
    assert set(info.made_with) == {"onnxruntime", "onnx"}
    assert info.hardware["cores"] >= 1
    assert info.hardware["cpu"]
    assert summary["rungs"] == summary["kept"] == 2
    assert summary["top1"] == table["onnxruntime int8"]["top1"] > 0.9
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["engine", "engine.json", "model.onnx", "rungs.json"]

    reference, int8 = table.values()
    assert reference["agreement"] == reference["speedup"] == 1
    assert reference["max_difference"] == 0
    assert int8["max_difference"] > 0
    for row in (reference, int8):
        assert 0 < row["p50_ms_batch1"] <= row["p99_ms_batch1"]
        assert 0 < row["p50_ms_batch8"] <= row["p99_ms_batch8"]
        assert row["images_per_s"] == pytest.approx(8000 / row["p50_ms_batch8"])
        assert row["size_mb"] > 0
    assert report.tables["rungs"] == list(table.values())
    assert report.values["engine/top1"] == [int8["top1"]]
    assert report.lines[-1].startswith("onnxruntime int8")
    assert report.lines[-1].endswith("chosen")


def test_a_rung_that_is_not_faster_enough_is_refused_and_fp32_stays(
    exported: Path, tmp_path: Path, report: ReportInMemory
) -> None:
    out = tmp_path / "engine"
    summary = compile_model(IMAGES, exported, out, replace(PARAMS, min_speedup=1000.0), report)
    assert (load_engine(out).precision, summary["kept"], summary["speedup"]) == ("fp32", 1, 1)
    assert read_info(out).calibration_sha256 is None
    assert rows(out)["onnxruntime int8"]["reason"].endswith("compile.min_speedup asks for 1000")


def test_a_rung_that_answers_differently_is_refused_and_fp32_stays(
    exported: Path, tmp_path: Path, report: ReportInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_the_bit(_task: object, one: np.ndarray, other: np.ndarray, _classes: object) -> np.ndarray:
        return (one == other).all(axis=1)

    monkeypatch.setattr(type(TASK), "agreement", to_the_bit)
    gates = PARAMS.gates | {"int8": RungGate(min_agreement=0.97, max_loss=1, max_class_loss=1)}
    out = tmp_path / "engine"
    compile_model(IMAGES, exported, out, replace(PARAMS, gates=gates), report)
    row = rows(out)["onnxruntime int8"]
    assert load_engine(out).precision == "fp32"
    assert row["kept"] is False
    assert row["reason"] == "100.0% of images answered differently than fp32; the gate allows 3.0%"
    assert row["images_per_s"] is None  # what fails its gate is not timed


def test_openvino_has_a_row_for_each_precision_that_it_could_have(
    exported: Path, tmp_path: Path, report: ReportInMemory
) -> None:
    out = tmp_path / "engine"
    compile_model(IMAGES, exported, out, replace(PARAMS, target="openvino"), report)
    table = rows(out)
    assert list(table) == ["onnxruntime fp32", "openvino fp32", "openvino bf16", "openvino int8"]
    assert table["openvino fp32"]["kept"]
    assert table["openvino int8"]["kept"]
    assert table["openvino bf16"]["kept"] or "does not compute in bf16" in table["openvino bf16"]["reason"]
    assert sum(row["chosen"] for row in table.values()) == 1
    chosen = load_engine(out)
    assert table[f"{chosen.target} {chosen.precision}"]["chosen"]


def test_what_a_vendor_cannot_build_is_refused_in_its_words(
    exported: Path, tmp_path: Path, report: ReportInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for Conv\nand a long story")

    monkeypatch.setattr("components.engine.precision.quantise", fail)
    compile_model(IMAGES, exported, tmp_path / "engine", PARAMS, report)
    assert rows(tmp_path / "engine")["onnxruntime int8"]["reason"] == "RuntimeError: no kernel for Conv"


def test_a_model_that_answers_the_same_to_every_image_is_refused(tmp_path: Path, report: ReportInMemory) -> None:
    exported = write_model(tmp_path / "export", broken=np.zeros((CHANNELS[1], len(SHAPES)), np.float32))
    with pytest.raises(CompileError, match="hardly differ between images"):
        compile_model(IMAGES, exported, tmp_path / "engine", PARAMS, report)
    assert not (tmp_path / "engine").exists()


def test_a_runtime_that_is_missing_here_is_named_with_what_to_do(
    exported: Path, tmp_path: Path, report: ReportInMemory
) -> None:
    from components.engine import tensorrt

    if tensorrt.missing() is None:
        pytest.skip("this machine has TensorRT")
    with pytest.raises(CompileError, match=r"compile.target is tensorrt, but .* Set it to auto"):
        compile_model(IMAGES, exported, tmp_path / "engine", replace(PARAMS, target="tensorrt"), report)


def test_an_engine_of_a_runtime_that_is_missing_here_is_not_loaded(
    exported: Path, tmp_path: Path, report: ReportInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_model(IMAGES, exported, tmp_path / "engine", PARAMS, report)
    monkeypatch.setattr("components.engine.onnxruntime.missing", lambda: "it was uninstalled")
    with pytest.raises(EngineError, match=r"onnxruntime int8: it was uninstalled\. Compile again on this machine"):
        load_engine(tmp_path / "engine")
