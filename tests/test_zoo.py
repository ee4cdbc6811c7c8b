"""Nets by name: built for any number of classes, filled from safetensors alone, refused with near names."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.model.card import CardError, ModelCard
from components.model.classifiers import class_layers, made_for, names
from components.model.layer_rates import depths_in
from components.model.nets import Normalised
from components.model.zoo import ZooError, build, carry_over, check_size, load_model

CARD = ModelCard(
    task="classification",
    arch="resnet9",
    classes=("a", "b", "c"),
    size=32,
    fit="stretch",
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    data_version="0123456789ab",
)


def saved(folder: Path, card: ModelCard = CARD) -> torch.nn.Module:
    net = build("classifier", card.arch, len(card.classes), "none")
    save_file(net.state_dict(), folder / "model.safetensors")
    card.write(folder / "model.json")
    return net


@pytest.mark.parametrize("arch", ["resnet9", "resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_net_answers_with_one_logit_a_class(arch: str):
    net = build("classifier", arch, 7, "none").eval()
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("size", [16, 32, 96])
def test_resnet9_takes_any_size(size: int):
    assert build("classifier", "resnet9", 3, "none").eval()(torch.zeros(1, 3, size, size)).shape == (1, 3)


def test_torchvision_timm_and_our_own_are_listed():
    assert {"resnet9", "lenet5", "resnet18", "googlenet", "timm/resnet18", "timm/vit_tiny_patch16_224"} <= set(names())


FAMOUS = {  # a net of each kind, with the smallest images that are sensible for it
    "lenet5": 32,
    "alexnet": 64,
    "vgg11": 32,
    "googlenet": 32,
    "inception_v3": 96,
    "resnet18": 32,
    "efficientnet_b0": 32,
    "mobilenet_v3_small": 32,
    "convnext_tiny": 32,
    "swin_t": 64,
    "vit_b_32": 224,
    "timm/vit_tiny_patch16_224": 224,
    "timm/mobilenetv3_small_050": 32,
    "pvt_v2_b0": 32,  # timm's, without saying so
}


@pytest.mark.slow
@pytest.mark.parametrize("arch", FAMOUS)
def test_every_famous_net_learns_and_knows_its_head(arch: str):
    torch.manual_seed(1)
    net, size = build("classifier", arch, 5, "none"), FAMOUS[arch]
    check_size(net, arch, size)
    images, targets = torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    before = {name: value.clone() for name, value in net.named_parameters()}
    for _ in range(2):  # a head of zeros lets nothing through to the body at first
        outputs = net.train()(images)
        assert outputs.shape == (4, 5)
        torch.nn.functional.cross_entropy(outputs, targets).backward()
        optimizer.step()
    moved = [name for name, value in net.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.8 * len(before)
    assert all(len(parameter) == 5 for layer in class_layers(net) for parameter in layer.parameters())
    depths = depths_in(net, class_layers(net))
    assert {depths[name] for name in before} == set(range(max(depths.values()) + 1))


def test_what_pretrained_weights_were_made_for_is_known():
    assert made_for("resnet18") == (224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert made_for("googlenet") == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert made_for("timm/vit_tiny_patch16_224") == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert made_for("resnet9") is None


def test_an_unknown_architecture_is_refused_with_near_names():
    with pytest.raises(ZooError, match=r"'resnet19'.*resnet18"):
        build("classifier", "resnet19", 3, "none")
    with pytest.raises(ZooError, match=r"'timm/resnet19'.*timm/resnet18"):
        build("classifier", "timm/resnet19", 3, "none")


def test_a_net_that_cannot_take_images_of_a_size_says_so():
    net = build("classifier", "squeezenet1_1", 3, "none")
    check_size(net, "squeezenet1_1", 32)
    with pytest.raises(ZooError, match=r"squeezenet1_1 cannot take images of 8 px.*image\.size"):
        check_size(net, "squeezenet1_1", 8)


@pytest.mark.parametrize("arch", ["resnet9", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_head_is_the_layer_with_a_row_a_class(arch: str):
    assert all(len(parameter) == 7 for parameter in class_layers(build("classifier", arch, 7, "none"))[0].parameters())


def test_weights_of_a_file_enter_the_body_and_leave_a_new_head_alone(tmp_path: Path):
    old = saved(tmp_path)
    net = build("classifier", "resnet9", 5, str(tmp_path / "model.safetensors"))
    ours, theirs = net.state_dict(), old.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("head"))
    assert class_layers(net)[0].weight.shape[0] == 5


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.pkl"])
def test_weights_that_could_hold_code_are_not_opened(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ZooError, match=r"\.safetensors"):
        build("classifier", "resnet9", 3, str(tmp_path / name))


def test_a_torn_or_missing_weights_file_is_named(tmp_path: Path):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ZooError, match=r"not a whole \.safetensors"):
        build("classifier", "resnet9", 3, str(path))
    with pytest.raises(ZooError, match="No weights at"):
        build("classifier", "resnet9", 3, str(tmp_path / "other.safetensors"))


def test_weights_of_another_architecture_are_refused(tmp_path: Path):
    saved(tmp_path)
    with pytest.raises(ZooError, match="do not fit"):
        build("classifier", "resnet18", 3, str(tmp_path / "model.safetensors"))


def test_weights_that_cannot_be_downloaded_say_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ZooError, match=r"could not be downloaded.*train\.weights: none"):
        build("classifier", "resnet18", 3, "default")


def test_our_own_net_has_no_default_weights():
    with pytest.raises(ZooError, match=r"train\.weights: none"):
        build("classifier", "resnet9", 3, "default")


def test_normalised_takes_stored_pixels_and_does_the_arithmetic_once():
    model = Normalised(torch.nn.Identity(), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    expected = (pixels / 255 - mean) / std
    assert torch.allclose(model(pixels), expected, atol=1e-5)
    assert torch.equal(model(pixels), model(pixels.float()))
    assert model.state_dict() == {}


def test_a_saved_model_comes_back_with_the_same_answers(tmp_path: Path):
    net = saved(tmp_path)
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    model = load_model(tmp_path)
    assert not model.training
    assert torch.equal(model(pixels), Normalised(net.eval(), CARD.mean, CARD.std)(pixels))


def test_a_folder_without_a_whole_model_is_refused(tmp_path: Path):
    with pytest.raises(CardError):
        load_model(tmp_path)
    saved(tmp_path)
    ModelCard(**{**vars(CARD), "classes": ("a", "b")}).write(tmp_path / "model.json")
    with pytest.raises(ZooError, match=r"do not fit.*head"):
        load_model(tmp_path)


def test_carrying_over_keeps_the_rows_of_classes_that_both_know():
    old, new = build("classifier", "resnet9", 3, "none"), build("classifier", "resnet9", 4, "none")
    fresh = new.state_dict()["head.weight"].clone()
    carry_over("classifier", new, old.state_dict(), old=("a", "b", "c"), new=("a", "c", "d", "e"))
    weight, bias = new.state_dict()["head.weight"], new.state_dict()["head.bias"]
    assert torch.equal(weight[:2], old.state_dict()["head.weight"][[0, 2]])
    assert torch.equal(bias[:2], old.state_dict()["head.bias"][[0, 2]])
    assert torch.equal(weight[2:], fresh[2:])
    assert torch.equal(new.state_dict()["stem.0.weight"], old.state_dict()["stem.0.weight"])
