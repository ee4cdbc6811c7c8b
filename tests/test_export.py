"""Export: one self-contained ONNX file that answers exactly as PyTorch does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from components.data.tables import file_digest
from components.engine.export import ExportError, export, read_onnx, write_onnx
from components.engine.parity import ParityError
from components.model.card import ModelCard
from components.params import ExportParams, ImageParams
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES
from tests.tiny import shape_images

IMAGE = ImageParams(size=32, fit="stretch", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
PARAMS = ExportParams(opset=20, max_difference=1e-3, parity_images=16)
IMAGES = shape_images(train=1, val=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the train stage writes it, with weights that were never trained."""
    import torch
    from safetensors.torch import save_file

    from components.model.zoo import build

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("model")
    save_file(build("classifier", "resnet9", len(SHAPES), "none").state_dict(), folder / "model.safetensors")
    card = ModelCard("classification", "resnet9", SHAPES, 32, "stretch", IMAGE.mean, IMAGE.std, "0" * 12)
    card.write(folder / "model.json")
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    report = ReportInMemory()
    summary = export(IMAGES, model, out, PARAMS, IMAGE, report)
    assert report.values["parity/max_difference"] == [summary["max_difference"]]
    return out


def test_the_file_takes_uint8_images_in_batches_of_any_size_and_gives_logits(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 3, 32, 32])
    assert (answer.name, answer.type, answer.shape[1]) == ("logits", "tensor(float)", len(SHAPES))
    for batch in (1, 3):
        assert session.run(None, {"images": IMAGES.pixels[:batch]})[0].shape == (batch, len(SHAPES))


def test_one_file_holds_everything_in_the_opset_asked_for_and_the_card_lies_beside_it(
    exported: Path, model: Path
) -> None:
    file = onnx.load(exported / "model.onnx", load_external_data=False)
    assert (exported / "model.json").read_bytes() == (model / "model.json").read_bytes()
    assert sorted(path.name for path in exported.iterdir()) == ["model.json", "model.onnx", "parity.json"]
    assert [(each.domain, each.version) for each in file.opset_import] == [("", 20)]
    onnx.checker.check_model(file, full_check=True)


def test_pytorch_and_onnx_runtime_agree_and_the_difference_is_written_down(exported: Path) -> None:
    parity = json.loads((exported / "parity.json").read_text(encoding="utf-8"))
    assert parity["images"] == 16
    assert 0 < parity["max_difference"] < 1e-4
    assert parity["provider"] == "CPUExecutionProvider"
    assert parity["onnx_sha256"] == file_digest(exported / "model.onnx")


def test_equal_models_give_equal_bytes_that_name_no_file_of_this_machine(
    exported: Path, model: Path, tmp_path: Path, report: ReportInMemory
) -> None:
    export(IMAGES, model, tmp_path / "again", PARAMS, IMAGE, report)
    again = (tmp_path / "again" / "model.onnx").read_bytes()
    assert again == (exported / "model.onnx").read_bytes()
    assert b".py" not in again
    assert str(Path.cwd()).encode() not in again


def test_a_larger_difference_than_allowed_stops_and_leaves_the_old_file(
    model: Path, tmp_path: Path, report: ReportInMemory
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").write_bytes(b"old")
    with pytest.raises(ParityError, match=r"export.max_difference allows 1e-12"):
        export(IMAGES, model, tmp_path / "out", replace(PARAMS, max_difference=1e-12), IMAGE, report)
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_params_that_changed_since_training_are_refused(model: Path, tmp_path: Path, report: ReportInMemory) -> None:
    with pytest.raises(ExportError, match="changed since the model was trained"):
        export(IMAGES, model, tmp_path / "out", PARAMS, replace(IMAGE, fit="crop"), report)


def test_what_pytorch_cannot_export_is_said_in_one_line(tmp_path: Path) -> None:
    import torch

    class Moody(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            numbers = images.float().flatten(1)
            return numbers if numbers.sum() > 0 else -numbers

    with pytest.raises(ExportError, match=r"^PyTorch cannot export this model: .*train\.arch`\.$"):
        write_onnx(Moody(), 8, 20, tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model"], ids=["empty", "text"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.onnx"):
        read_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("place", ["branch", "constant", "function"])
def test_hidden_tensors_are_not_read_from_other_files(exported: Path, tmp_path: Path, place: str) -> None:
    file = onnx.load(exported / "model.onnx")
    outside = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "outside")
    outside.data_location = onnx.TensorProto.EXTERNAL
    branch = onnx.helper.make_graph([], "branch", [], [], [outside])
    constant = onnx.helper.make_node("Constant", [], ["y"], value=outside)
    if place == "branch":
        file.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    elif place == "constant":
        file.graph.node.append(constant)
    else:
        file.functions.append(onnx.helper.make_function("own", "F", [], ["y"], [constant], file.opset_import))
    (tmp_path / "model.onnx").write_bytes(file.SerializeToString())
    with pytest.raises(ExportError, match="outside"):
        read_onnx(tmp_path / "model.onnx")
