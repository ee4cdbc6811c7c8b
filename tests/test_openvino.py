"""OpenVINO engines: each runs in the precision that it is named for, or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.engine import EngineError, load_engine, openvino, run_batches
from components.engine.precision import calibration_set
from components.tasks import task_named
from tests.drawing import SHAPES
from tests.tiny import shape_images, write_engine, write_model

IMAGES = shape_images().of("val")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    engine = load_engine(write_engine(tmp_path_factory.mktemp("reference"), "onnxruntime", "fp32"))
    return run_batches(engine, IMAGES.pixels)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine(tmp_path_factory.mktemp("fp32"), "openvino", "fp32")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine(tmp_path_factory.mktemp("int8"), "openvino", "int8")


def test_fp32_gives_the_same_logits_as_onnx_runtime_at_any_batch_size(fp32: Path, reference: np.ndarray) -> None:
    engine = load_engine(fp32)
    for batch in (1, 5, 64):
        np.testing.assert_allclose(run_batches(engine, IMAGES.pixels, batch), reference, atol=1e-4)


def test_fp32_stays_fp32_also_where_the_cpu_is_faster_in_less(fp32: Path) -> None:
    used = openvino.executed(load_engine(fp32).compiled)
    assert set(used) == {"f32"}


def test_int8_runs_in_int8_and_answers_as_fp32_does(int8: Path, reference: np.ndarray) -> None:
    engine = load_engine(int8)
    logits = run_batches(engine, IMAGES.pixels)
    assert (engine.target, engine.precision, engine.provider) == ("openvino", "int8", "CPU")
    assert openvino.executed(engine.compiled).keys() <= {"u8", "i8"}
    assert 0 < np.abs(reference - logits).max() < 0.5
    assert task_named("classification").agreement(reference, logits, SHAPES).mean() >= 0.97


def test_quantising_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "export") / "model.onnx"
    openvino.build(model, "int8", calibration_set(shape_images(), task_named("classification"), 8).pixels, 8, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_fp32_model_is_not_taken_for_int8(fp32: Path) -> None:
    with pytest.raises(EngineError, match="runs this int8 engine in"):
        openvino.load(fp32, "int8")


def test_bf16_runs_in_bf16_or_is_lacking_in_words(fp32: Path) -> None:
    reason = openvino.lacks("bf16")
    if reason is None:
        assert openvino.executed(openvino.load(fp32, "bf16").compiled)["bf16"] > 0
    else:
        assert "does not compute in bf16" in reason
        with pytest.raises(EngineError, match="runs this bf16 engine in"):
            openvino.load(fp32, "bf16")


def test_no_fp16_on_a_cpu() -> None:
    assert openvino.lacks("fp16") == "OpenVINO has no fp16 on a CPU"


def test_an_answer_stays_as_it_is_when_the_next_batch_runs(fp32: Path) -> None:
    engine = load_engine(fp32)
    answer = engine.run(IMAGES.pixels[:4])
    before = answer.copy()
    engine.run(IMAGES.pixels[4:8])
    np.testing.assert_array_equal(answer, before)


def test_images_may_lie_in_a_file_that_cannot_be_written(fp32: Path, reference: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", IMAGES.pixels)
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_allclose(run_batches(load_engine(fp32), pixels), reference, atol=1e-4)


def test_several_threads_may_run_one_engine(fp32: Path) -> None:
    engine = load_engine(fp32, threads=1)
    expected = engine.run(IMAGES.pixels)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(engine.run, [IMAGES.pixels] * 16):
            np.testing.assert_array_equal(answer, expected)
