"""Detectors: nets by name whose one tensor decodes as torchvision's own boxes do, that learn, and that export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection.image_list import ImageList

from components.model import detectors
from components.model.nets import Normalised
from components.model.zoo import ZooError, _fill
from components.tasks.detection import ObjectDetection
from components.tasks.detector_loss import detector_loss
from components.tasks.detector_outputs import ACROSS, LOGITS, boxes_of
from tests.boxed import CLASSES, outputs, scenes

LIGHT = ("fcos_resnet18", "fcos_mobilenet_v3_small", "fcos_efficientnet_b0", "fcos_convnext_tiny", "fcos_vgg11_bn")
TASK = ObjectDetection()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("arch", LIGHT)
@pytest.mark.parametrize("size", [64, 100])
def test_a_light_detector_answers_a_row_for_each_cell_of_three_grids(arch: str, size: int):
    rows = detectors.bare(arch, 5).eval()(torch.zeros(2, 3, size, size))
    across = rows[0, :, ACROSS].unique().tolist()
    assert len(across) == 3
    assert rows.shape == (2, sum(int(each) ** 2 for each in across), LOGITS + 5)
    assert rows.dtype == torch.float32
    assert (rows[..., :4] > 0).all()


def test_every_listed_name_is_a_backbone_that_torchvision_has():
    found = detectors.names()
    assert {"fcos_resnet18", "fcos_mobilenet_v3_large", *detectors.WHOLE} <= set(found)
    assert {name.removeprefix("fcos_") for name in found} - set(detectors.WHOLE) - set(models.list_models()) == {
        "resnet50_fpn"  # of fcos_resnet50_fpn, torchvision's own
    }


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(ZooError, match=r"'fcos_resnet19'.*fcos_resnet18"):
        detectors.bare("fcos_resnet19", 2)


def test_a_detector_in_two_steps_is_refused_with_what_to_take_instead():
    with pytest.raises(ZooError, match=r"two steps.*retinanet_resnet50_fpn_v2"):
        detectors.bare("fasterrcnn_resnet50_fpn", 2)


@pytest.mark.parametrize("arch", ["fcos_resnet50_fpn", "retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large"])
def test_boxes_are_those_that_torchvision_decodes_from_the_same_head(arch: str):
    side = 256  # a multiple of every stride: torchvision rounds others down
    detector = models.get_model(arch, weights=None, weights_backbone=None, num_classes=3).eval()
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        _stir(detector)
        maps = list(detector.backbone(images).values())
        said = detector.head(maps)["bbox_regression"][0]
        [anchors] = detector.anchor_generator(ImageList(images, [(side, side)]), maps)
        expected = detector.box_coder.decode_single(said, anchors) if "fcos" not in arch else _linear(said, anchors)
        rows = _wrapped(arch, detector).eval()(images)
    assert boxes_of(rows[0].numpy()) == pytest.approx((expected / side).clamp(0, 1).numpy(), abs=2e-5)


@pytest.mark.parametrize("arch", ["fcos_resnet18", "retinanet_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large"])
def test_class_layers_have_whole_sets_of_rows_for_the_classes(arch: str):
    one, other = (detectors.class_layers(detectors.bare(arch, classes)) for classes in (3, 5))
    for few, more in zip(one, other, strict=True):
        assert isinstance(few, nn.Conv2d)
        assert isinstance(more, nn.Conv2d)
        assert few.weight.shape[0] / 3 == more.weight.shape[0] / 5
    assert len(one) == (6 if arch.startswith("ssd") else 1)


@pytest.mark.parametrize("arch", ["fcos_mobilenet_v3_small", "fcos_resnet18"])
def test_weights_of_a_backbone_enter_by_name(arch: str):
    backbone = models.get_model(arch.removeprefix("fcos_"), weights=None)
    net = detectors.bare(arch, 4)
    _fill(net, detectors.completed(arch, backbone.state_dict()), arch, detectors.class_layers(net))
    theirs, mine = [each for each in (backbone, net) if isinstance(each, nn.Module)]
    first = next(value for value in theirs.parameters() if value.ndim == 4)
    assert torch.equal(next(value for value in mine.parameters() if value.ndim == 4), first)


@pytest.mark.parametrize("arch", ["fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"])
def test_weights_of_a_whole_detector_enter_but_for_other_classes(arch: str):
    whole = models.get_model(arch, weights=None, weights_backbone=None, num_classes=91)
    net = detectors.bare(arch, 4)
    _fill(net, detectors.completed(arch, whole.state_dict()), arch, detectors.class_layers(net))
    name = "head.regression_head" + (".bbox_reg.weight" if "fcos" in arch else ".module_list.0.1.weight")
    assert torch.equal(net.state_dict()[name], whole.state_dict()[name])


def test_pretrained_weights_say_what_images_they_were_made_for():
    assert detectors.made_for("ssdlite320_mobilenet_v3_large") == (320, (0.5,) * 3, (0.5,) * 3)
    assert detectors.made_for("fcos_resnet18") == (224, detectors.MEAN, detectors.STD)


def test_default_weights_that_cannot_be_downloaded_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ZooError, match=r"fcos_resnet18 could not be downloaded.*train.weights"):
        detectors.default_weights("fcos_resnet18")


def test_a_perfect_answer_costs_less_than_a_moved_one_and_than_a_silent_one():
    box = ("disc", 0.2, 0.2, 0.6, 0.6)
    targets = torch.tensor([[[0.2, 0.2, 0.6, 0.6, 0, 0, 1], [0, 0, 0, 0, -1, 0, 1]]])
    moved = ("disc", 0.23, 0.2, 0.63, 0.6)
    perfect, shifted, silent = (
        float(detector_loss(torch.from_numpy(outputs([said])), targets, None, 2.0))
        for said in ([(*box, 0.999)], [(*moved, 0.999)], [])
    )
    assert perfect < shifted < silent


def test_an_image_without_objects_costs_what_is_answered_in_it():
    empty = torch.tensor([[[0.0, 0, 0, 0, -1, 0, 1]]])
    quiet, loud = (torch.from_numpy(outputs([said])) for said in ([], [("disc", 0.2, 0.2, 0.6, 0.6, 0.9)]))
    assert 0 <= detector_loss(quiet, empty, None, 2.0) < 1e-3 < detector_loss(loud, empty, None, 2.0)


def test_what_is_answered_within_a_crowd_costs_nothing():
    crowd = torch.tensor([[[0.1, 0.1, 0.7, 0.7, 0, 1, 1]]])
    loud = torch.from_numpy(outputs([[("disc", 0.2, 0.2, 0.6, 0.6, 0.9)]]))
    assert detector_loss(loud, crowd, None, 2.0) < 1e-3


def test_an_object_smaller_than_a_cell_has_a_row_that_learns_it():
    tiny = torch.tensor([[[0.501, 0.501, 0.508, 0.508, 1, 0, 1]]])
    said = torch.from_numpy(outputs([[]])).requires_grad_()
    detector_loss(said, tiny, None, 2.0).backward()
    assert said.grad is not None
    assert (said.grad[..., LOGITS + 1] < 0).any()
    assert (said.grad[..., :4] != 0).any()


def test_class_weights_make_a_class_count_more():
    targets = torch.tensor([[[0.2, 0.2, 0.6, 0.6, 0, 0, 1]]])
    said = torch.from_numpy(outputs([[]]))
    heavy, usual = (detector_loss(said, targets, weights, 2.0) for weights in (torch.tensor([3.0, 1.0]), None))
    assert heavy > 1.5 * usual


def test_slots_without_a_box_change_nothing():
    images = scenes(3)
    targets = torch.from_numpy(TASK.targets(images, CLASSES))
    wide = torch.cat([targets, targets[:, -1:].repeat(1, 20, 1)], dim=1)[:, torch.randperm(targets.shape[1] + 20)]
    said = detectors.bare("fcos_mobilenet_v3_small", 2).eval()(torch.randn(3, 3, 64, 64))
    assert torch.allclose(detector_loss(said, targets, None, 2.0), detector_loss(said, wide, None, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "side", "epochs"), [("fcos_resnet18", 64, 10), ("ssdlite320_mobilenet_v3_large", 96, 16)]
)
def test_a_detector_learns_to_find_drawn_shapes(arch: str, side: int, epochs: int):
    images, fresh = scenes(48, side=side), scenes(24, first=1000, side=side)
    model = Normalised(detectors.bare(arch, 2), (0.4,) * 3, (0.25,) * 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pixels, targets = torch.from_numpy(images.pixels), torch.from_numpy(TASK.targets(images, CLASSES))
    for _ in range(epochs):
        for rows in torch.randperm(48).split(8):
            loss = detector_loss(model(pixels[rows]), targets[rows], None, 2.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        said = model.eval()(torch.from_numpy(fresh.pixels)).numpy()
    measure = TASK.measure("map50", said, TASK.targets(fresh, CLASSES), CLASSES, None)  # type: ignore[arg-type]
    assert measure is not None
    assert measure(np.arange(24)) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["fcos_resnet18", *detectors.WHOLE])
def test_the_exported_graph_answers_the_same_for_any_batch(arch: str, tmp_path: Path):
    from components.engine import onnxruntime
    from components.engine.export import write_onnx

    module = Normalised(detectors.bare(arch, 3), (0.4,) * 3, (0.25,) * 3).eval()
    with torch.no_grad():
        _stir(module, 0.01)
    write_onnx(module, 128, 20, tmp_path / "model.onnx")
    engine = onnxruntime.load(tmp_path, "fp32", threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 128, 128), dtype=np.uint8)
    with torch.inference_mode():
        expected = module(torch.from_numpy(pixels)).numpy()
    assert np.abs(engine.run(pixels) - expected).max() < 1e-3
    assert np.abs(engine.run(pixels[:1]) - expected[:1]).max() < 1e-3


def _stir(net: nn.Module, std: float = 0.03) -> None:
    """Weights of a size that makes the answers differ, unlike those of an untrained head."""
    for name, value in net.named_parameters():
        if "head" in name and value.ndim == 4:
            nn.init.normal_(value, std=std)


def _linear(said: Tensor, anchors: Tensor) -> Tensor:
    """FCOS's code (torchvision's BoxLinearCoder): distances in sides of the anchor from its middle."""
    middle, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    return torch.cat([middle - said[:, :2] * sides, middle + said[:, 2:] * sides], dim=1)


def _wrapped(arch: str, detector: nn.Module) -> nn.Module:
    """Our net with the weights of `detector`."""
    net = detectors.bare(arch, 3)
    missing = net.load_state_dict(detector.state_dict(), strict=True)
    assert not missing.missing_keys
    return net
