"""Nets for segmentation: each name is a net of one output, classes can change, the light one learns and exports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.engine import onnxruntime, run_batches
from components.engine.export import write_onnx
from components.model import segmenters, zoo
from components.model.device import outputs_of
from components.model.nets import Normalised
from components.model.zoo import ZooError
from components.tasks.segmentation import Segmentation
from tests.training import PARAMS

STRIDES = {
    "fpn_resnet18": 4,
    "fpn_resnet34": 4,
    "fpn_resnet50": 4,
    "fpn_resnet101": 4,
    "lraspp_mobilenet_v3_large": 8,
    "deeplabv3_resnet50": 8,
    "deeplabv3_resnet101": 8,
    "deeplabv3_mobilenet_v3_large": 16,
    "fcn_resnet50": 8,
    "fcn_resnet101": 8,
}
LIGHT = "fpn_resnet18"


def pixels(n: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 3, side, side), dtype=np.uint8)


def settled(net: torch.nn.Module, side: int = 64) -> Normalised:
    """In eval mode, with running statistics of random images: a net that has seen none answers the same to all."""
    model = Normalised(net, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(pixels(4, side)))
    return model.eval()


def test_every_name_is_known_and_none_else():
    assert set(segmenters.names()) == set(STRIDES)
    with pytest.raises(ZooError, match=r"'fpn_resnet'.*fpn_resnet18"):
        zoo.build("segmenter", "fpn_resnet", 3, "none")


@pytest.mark.parametrize("arch", ["fpn_resnet18", "lraspp_mobilenet_v3_large"])
def test_pretrained_weights_say_which_images_they_were_made_for(arch):
    side, mean, std = segmenters.made_for(arch)
    assert side in (224, 520)
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    "arch", [pytest.param(arch, marks=pytest.mark.slow if "101" in arch else []) for arch in sorted(STRIDES)]
)
def test_a_net_answers_one_map_of_its_stride_in_training_and_in_evaluation(arch):
    net = segmenters.bare(arch, 5)
    images = torch.rand(2, 3, 64, 64)
    side = 64 // STRIDES[arch]
    with torch.no_grad():
        assert net.train()(images).shape == net.eval()(images).shape == (2, 5, side, side)
    assert [layer.weight.shape[0] for layer in segmenters.class_layers(net)] == [5] * (2 if "lraspp" in arch else 1)


@pytest.mark.parametrize("side", [32, 72, 100])
def test_the_light_net_takes_squares_that_its_strides_do_not_divide(side):
    with torch.no_grad():
        assert segmenters.bare(LIGHT, 2).eval()(torch.rand(1, 3, side, side)).shape[-1] == side // 4


@pytest.mark.parametrize("arch", ["fpn_resnet18", "lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_all_layers_but_the_last_fit_a_net_of_other_classes(arch):
    few, many = (segmenters.bare(arch, classes) for classes in (2, 7))
    last = {id(each) for layer in segmenters.class_layers(few) for each in layer.parameters()}
    differ = {name for name, each in few.named_parameters() if each.shape != many.get_parameter(name).shape}
    assert differ == {name for name, each in few.named_parameters() if id(each) in last}


@pytest.mark.parametrize("arch", ["fpn_resnet18", "lraspp_mobilenet_v3_large"])
def test_a_class_keeps_its_answers_when_others_join(arch):
    old = segmenters.bare(arch, 2).eval()
    new = segmenters.bare(arch, 3).eval()
    zoo.carry_over("segmenter", new, old.state_dict(), ("car", "road"), ("bus", "car", "road"))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(old(images), new(images)[:, 1:], atol=1e-5)


@pytest.mark.parametrize("arch", ["fpn_resnet18", "fpn_resnet50", "lraspp_mobilenet_v3_large", "deeplabv3_resnet50"])
def test_downloaded_weights_enter_under_their_names_and_auxiliary_heads_are_left_out(arch, monkeypatch):
    from torchvision import models

    source = models.get_model(
        arch.removeprefix("fpn_"), weights=None, **({} if "fpn" in arch else {"weights_backbone": None})
    )
    published = {name: each + 1 for name, each in source.state_dict().items()} | {
        "aux_classifier.4.bias": torch.ones(21)
    }
    monkeypatch.setattr(zoo, "downloaded", lambda *_: published)
    net = zoo.build("segmenter", arch, 4, "default")
    taken = published["conv1.weight"] if "fpn" in arch else published[next(iter(net.state_dict()))]
    assert (next(iter(net.state_dict().values())) == taken).all()
    assert not [name for name in net.state_dict() if name.startswith("aux")]


def test_the_light_net_learns_where_a_bright_patch_lies():
    torch.manual_seed(0)
    images = torch.randint(0, 60, (8, 3, 32, 32)).float()
    targets = torch.zeros(8, 32, 32, dtype=torch.uint8)
    for row, (top, left) in enumerate(torch.randint(0, 20, (8, 2)).tolist()):
        images[row, :, top : top + 12, left : left + 12] += 150
        targets[row, top : top + 12, left : left + 12] = 1
    task = Segmentation()
    model = Normalised(segmenters.bare(LIGHT, 2), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(25):
        optimizer.zero_grad()
        task.loss(model(images), targets, None, PARAMS).backward()
        optimizer.step()
    outputs = outputs_of(model, images.to(torch.uint8).numpy())
    assert task.scores(outputs, targets.numpy(), ("dark", "bright")).mean() > 0.8


@pytest.mark.parametrize(
    "arch",
    [
        "fpn_resnet18",
        pytest.param("lraspp_mobilenet_v3_large", marks=pytest.mark.slow),
        pytest.param("deeplabv3_mobilenet_v3_large", marks=pytest.mark.slow),
        pytest.param("deeplabv3_resnet50", marks=pytest.mark.slow),
        pytest.param("fcn_resnet50", marks=pytest.mark.slow),
    ],
)
def test_a_net_exports_with_a_free_batch_axis_and_onnx_runtime_answers_the_same(arch, tmp_path):
    model = settled(segmenters.bare(arch, 4))
    write_onnx(model, 64, 20, tmp_path / "model.onnx")
    images = pixels(5)
    expected, found = outputs_of(model, images), run_batches(onnxruntime.load(tmp_path, "fp32"), images, 3)
    assert found.shape == expected.shape
    assert np.abs(expected - found).max() < 1e-3
    assert np.ptp(expected) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["fpn_resnet18", "lraspp_mobilenet_v3_large"])
def test_quantised_engines_answer_nearly_the_same_maps(arch, tmp_path):
    from components.engine import openvino

    torch.manual_seed(0)
    model = settled(segmenters.bare(arch, 4))
    write_onnx(model, 64, 20, tmp_path / "model.onnx")
    images = pixels(8)
    expected = outputs_of(model, images)
    openvino.build(tmp_path / "model.onnx", "int8", images, 8, tmp_path)
    found = run_batches(openvino.load(tmp_path, "int8"), images, 4)
    assert Segmentation().agreement(expected, found, "abcd").mean() > 0.85
