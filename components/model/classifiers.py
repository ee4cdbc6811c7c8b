"""Nets that judge an image as a whole: our own ResNet-9, and the classification models of torchvision and timm by name.

In: the name of an architecture. Out: `nn.Module`s that answer (N, C) logits, their pretrained weights, and which layers
know the classes. One of the families that `components.model.zoo` builds from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = ("resnet9",)
AUXILIARY = ("googlenet", "inception_v3")  # answer with several outputs while they train


def names() -> list[str]:
    from torchvision import models

    return sorted([*OWN, *(name for name in models.list_models(module=models) if name not in AUXILIARY)])


def bare(arch: str, classes: int) -> nn.Module:
    """The net with random weights and `classes` outputs; raise ZooError for a name that there is not."""
    if arch == "resnet9":
        from components.model.nets import ResNet9

        return ResNet9(classes)
    from torchvision import models

    from components.model.zoo import unknown

    if arch not in names():
        raise unknown("classifier", arch, names())
    net: nn.Module = models.get_model(arch, weights=None, num_classes=classes)
    return net


def default_weights(arch: str) -> Mapping[str, Tensor]:
    """Pretrained weights, downloaded; raise ZooError where there are none or they cannot be had."""
    from torchvision import models

    from components.model.zoo import ZooError, downloaded

    if arch in OWN:
        raise ZooError(f"{arch} has no pretrained weights; set `train.weights: none` or give a .safetensors file.")
    return downloaded(arch, models.get_model_weights(arch).DEFAULT)


def class_layers(net: nn.Module) -> list[nn.Module]:
    """The last layer with weights of its own, whose first dimension is the classes; the rest is the body."""
    from torch import nn

    layers: list[nn.Module] = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return layers[-1:]
