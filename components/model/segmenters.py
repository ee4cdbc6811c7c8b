"""Nets that give each pixel a class: torchvision's by name, and our `fpn_` nets on its ResNets.

In: the name of an architecture. Out: `nn.Module`s that answer (N, C, s, s) logits, their pretrained weights, and which
layers know the classes. One of the families that `components.model.zoo` builds from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.model.card import Triple

if TYPE_CHECKING:
    from torch import Tensor, nn

PYRAMID = "fpn_"
BODIES = ("resnet18", "resnet34", "resnet50", "resnet101")  # that a pyramid can stand on
VENDOR = (
    "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "fcn_resnet50",
    "fcn_resnet101",
)


def names() -> list[str]:
    return sorted([*VENDOR, *(PYRAMID + body for body in BODIES)])


def bare(arch: str, classes: int) -> nn.Module:
    """The net with random weights and `classes` outputs for each pixel; raise ZooError for an unknown name."""
    from torchvision import models

    from components.model.segmenter_nets import LiteAspp, Plain, Pyramid
    from components.model.zoo import unknown

    if arch not in names():
        raise unknown("segmenter", arch, names())
    if arch.startswith(PYRAMID):
        return Pyramid(models.get_model(arch.removeprefix(PYRAMID), weights=None), classes)
    net = models.get_model(arch, weights=None, weights_backbone=None, num_classes=classes, aux_loss=False)
    return LiteAspp(net) if arch.startswith("lraspp") else Plain(net)


def default_weights(arch: str) -> Mapping[str, Tensor]:
    """Pretrained weights, downloaded: of torchvision's nets all, of a pyramid the body's; raise ZooError without."""
    from torchvision import models

    from components.model.zoo import downloaded

    if not arch.startswith(PYRAMID):
        state = downloaded(arch, models.get_model_weights(arch).DEFAULT)
        return {name: value for name, value in state.items() if not name.startswith("aux_classifier.")}
    body = arch.removeprefix(PYRAMID)
    known = {
        f"backbone.{name}": each for name, each in downloaded(body, models.get_model_weights(body).DEFAULT).items()
    }
    # What no one has trained yet starts as in any new net; the classes are cut off.
    fresh = {name: each for name, each in bare(arch, 1).state_dict().items() if not name.startswith("classifier.")}
    return {name: known.get(name, each) for name, each in fresh.items()}


def made_for(arch: str) -> tuple[int, Triple, Triple] | None:
    """Side in px, and mean and deviation of RGB in 0..1, that the pretrained weights expect."""
    from torchvision import models

    from components.model import classifiers

    if arch.startswith(PYRAMID):
        return classifiers.made_for(arch.removeprefix(PYRAMID))
    expected = models.get_model_weights(arch).DEFAULT.transforms()
    return expected.resize_size[0], tuple(expected.mean), tuple(expected.std)


def class_layers(net: nn.Module) -> list[nn.Module]:
    """The last layers, whose first dimension is the classes: two of LR-ASPP, of the others one."""
    from torch import nn

    layers = dict(net.named_modules())
    two = [layers[name] for name in ("classifier.low_classifier", "classifier.high_classifier") if name in layers]
    head: list[nn.Module] = [each for each in net.get_submodule("classifier").modules() if isinstance(each, nn.Conv2d)]
    return two or head[-1:]
