"""ONNX Runtime engines: the reference, int8, and everything that `load_engine` refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from components.engine import EngineError, TargetName, load_engine, onnxruntime, read_info, run_batches
from components.engine.export import ExportError
from components.tasks import task_named
from tests.drawing import SHAPES
from tests.tiny import shape_images, write_engine

IMAGES = shape_images().of("val")


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine(tmp_path_factory.mktemp("fp32"), "onnxruntime", "fp32")


@pytest.fixture
def engine(fp32: Path, tmp_path: Path) -> Path:
    """A copy of the fp32 engine to damage."""
    for path in fp32.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_logits_are_float32_by_class_for_any_batch_size(fp32: Path) -> None:
    loaded = load_engine(fp32)
    together = run_batches(loaded, IMAGES.pixels, batch=7)
    alone = np.concatenate([loaded.run(image[None]) for image in IMAGES.pixels])
    assert together.dtype == np.float32
    assert together.shape == (len(IMAGES), len(SHAPES))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_engine_says_what_it_runs_on(fp32: Path) -> None:
    loaded = load_engine(fp32)
    assert (loaded.target, loaded.precision, loaded.provider) == ("onnxruntime", "fp32", "CPUExecutionProvider")


def test_int8_answers_as_fp32_does_from_a_smaller_file(fp32: Path, tmp_path: Path) -> None:
    int8 = write_engine(tmp_path, "onnxruntime", "int8")
    before, after = (run_batches(load_engine(folder), IMAGES.pixels) for folder in (fp32, int8))
    assert 0 < np.abs(before - after).max() < 0.5
    assert task_named("classification").agreement(before, after, SHAPES).mean() >= 0.97
    assert (int8 / "model.onnx").stat().st_size < 0.6 * (fp32 / "model.onnx").stat().st_size


def test_several_threads_may_run_one_engine(fp32: Path) -> None:
    loaded = load_engine(fp32, threads=1)
    expected = loaded.run(IMAGES.pixels)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(loaded.run, [IMAGES.pixels] * 16):
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 32, 32), np.float32),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((2, 3, 64, 64), np.uint8),
        np.zeros((0, 3, 32, 32), np.uint8),
    ],
    ids=["floats", "no batch", "channels last", "other size", "no images"],
)
def test_images_of_another_kind_are_refused_with_what_was_expected(fp32: Path, images: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"expected uint8 \(N, 3, 32, 32\)"):
        load_engine(fp32).run(images)


def test_a_changed_file_is_refused(engine: Path) -> None:
    content = bytearray((engine / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (engine / "model.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="changed since it was compiled"):
        load_engine(engine)


def test_a_missing_file_is_refused(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    with pytest.raises(EngineError, match="missing"):
        load_engine(engine)


def test_a_folder_without_an_engine_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="visionloop run"):
        load_engine(tmp_path)


def test_a_runtime_that_nobody_knows_is_refused(engine: Path) -> None:
    info = json.loads((engine / "engine.json").read_text(encoding="utf-8"))
    (engine / "engine.json").write_text(json.dumps(info | {"target": "abacus"}), encoding="utf-8")
    with pytest.raises(EngineError, match="No runtime is called 'abacus'"):
        load_engine(engine)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_running_an_engine_takes_neither_torch_nor_nncf(tmp_path: Path, name: TargetName) -> None:
    folder = write_engine(tmp_path, name, "fp32")
    script = f"""
import sys, numpy
from pathlib import Path
from components.engine import load_engine
load_engine(Path({str(folder)!r})).run(numpy.zeros((1, 3, 32, 32), numpy.uint8))
print(sorted({{"torch", "nncf", "mlflow", "sklearn", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("content", ["{", "[]", '{"target": "onnxruntime"}'])
def test_an_engine_json_of_another_kind_is_refused(engine: Path, content: str) -> None:
    (engine / "engine.json").write_text(content, encoding="utf-8")
    with pytest.raises(EngineError, match="compile again"):
        read_info(engine)


def test_another_provider_than_the_judged_one_is_refused(engine: Path) -> None:
    info = json.loads((engine / "engine.json").read_text(encoding="utf-8"))
    (engine / "engine.json").write_text(json.dumps(info | {"provider": "CUDAExecutionProvider"}), encoding="utf-8")
    with pytest.raises(EngineError, match="judged on CUDAExecutionProvider"):
        load_engine(engine)


def test_an_fp32_file_is_not_taken_for_int8(engine: Path) -> None:
    with pytest.raises(EngineError, match="not quantised"):
        onnxruntime.load(engine, "int8")


def test_weights_in_another_file_are_never_read(engine: Path) -> None:
    model = onnx.load(engine / "model.onnx")
    weights = model.graph.initializer[-1]
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    (engine / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="other files"):
        onnxruntime.load(engine, "fp32")
