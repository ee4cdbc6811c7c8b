"""Detectors by name: light ones around any backbone for a CPU, and torchvision's own for GPUs.

In: names as `train.arch` has them. Out: nets that answer with the tensor of `components.tasks.detector_outputs`, and
weights for them. `fcos_<backbone>` is ours, around a classification net of torchvision, such as fcos_resnet18; the
names that torchvision gives (fcos_resnet50_fpn, retinanet_resnet50_fpn_v2, ...) are its detectors, without what comes
behind their heads. Those that answer in two steps (Faster R-CNN) cannot be one tensor and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

Triple = tuple[float, float, float]

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.model.detector_nets import Anchors

PREFIX = "fcos_"
STAGED = ("resnet", "resnext", "wide_resnet")  # backbones with layer1 to layer4
FEATURED = ("mobilenet", "efficientnet", "convnext", "vgg")  # backbones whose maps are in `features`
WHOLE = ("fcos_resnet50_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large")
TWO_STEPS = ("fasterrcnn_", "maskrcnn_", "keypointrcnn_")
HALF = (0.5, 0.5, 0.5)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
INSTEAD = "retinanet_resnet50_fpn_v2 or fcos_resnet50_fpn"


def names() -> list[str]:
    """Every name that `train.arch` may have for detection."""
    from torchvision import models

    known = models.list_models(module=models)
    return sorted([*(PREFIX + name for name in known if name.startswith((*STAGED, *FEATURED))), *WHOLE])


def bare(arch: str, classes: int) -> nn.Module:
    """A detector with random weights; raise ZooError for a name that there is not, with near ones."""
    _check(arch)
    return _whole(arch, classes) if arch in WHOLE else _light(arch, classes)


def class_layers(net: nn.Module) -> list[nn.Module]:
    """The last layers of the class scores; k * C rows of weights, those of one anchor side by side."""
    layers: list[nn.Module] = net.class_layers  # type: ignore[assignment]
    return layers


def default_weights(arch: str) -> Mapping[str, Tensor]:
    """torchvision's, named as in the net: a light detector's backbone (ImageNet), or a whole detector (COCO).

    Raises ZooError when they cannot be downloaded.
    """
    from torchvision import models

    from components.model.zoo import downloaded

    _check(arch)
    name = arch if arch in WHOLE else arch.removeprefix(PREFIX)
    return completed(arch, downloaded(arch, models.get_model_weights(name).DEFAULT))


def completed(arch: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's `state` under the names of our nets; the rest, but for the class layers, as in a new net."""
    net = bare(arch, 1)
    layers = {id(value) for layer in class_layers(net) for value in layer.parameters()}
    spared = {name for name, value in net.named_parameters() if id(value) in layers}
    fresh = {name: value for name, value in net.state_dict().items() if name not in spared}
    named = state if arch in WHOLE else {f"body.{name.removeprefix('features.')}": each for name, each in state.items()}
    return fresh | {name: each for name, each in named.items() if name in fresh}


def made_for(arch: str) -> tuple[int, Triple, Triple] | None:
    """Side in px, and mean and deviation of RGB in 0..1, that the pretrained weights expect."""
    from components.model import classifiers

    if arch in WHOLE:
        return (320, HALF, HALF) if arch.startswith("ssd") else (800, MEAN, STD)
    return classifiers.made_for(arch.removeprefix(PREFIX))


def _check(arch: str) -> None:
    from components.model.zoo import ZooError, unknown

    if arch.startswith(TWO_STEPS):
        raise ZooError(
            f"{arch} answers in two steps, of which the second depends on what the first found: it cannot be exported "
            f"as one tensor. Set `train.arch` to {INSTEAD}."
        )
    known = names()
    if arch not in known:
        raise unknown("detector", arch, known)


def _light(arch: str, classes: int) -> nn.Module:
    from torchvision import models

    from components.model.detector_nets import Body, Fcos

    net = models.get_model(arch.removeprefix(PREFIX), weights=None)
    steps = dict((net if hasattr(net, "layer4") else net.features).named_children())
    return Fcos(Body({name: step for name, step in steps.items() if name not in {"avgpool", "fc"}}), classes)


def _whole(arch: str, classes: int) -> nn.Module:
    from torchvision import models

    from components.model.detector_nets import Anchored, AnchorFree

    detector = models.get_model(arch, weights=None, weights_backbone=None, num_classes=classes)
    if arch.startswith("fcos"):
        return AnchorFree(detector)
    net = Anchored(detector, _anchors(detector))
    if arch.startswith("ssd"):
        _expect_little(net)
    return net


def _anchors(detector: Any) -> Anchors:
    """As torchvision lays them out, in cells (RetinaNet, whose levels halve from 8 px on) or shares (SSDlite)."""
    from components.model.detector_nets import Anchors

    made = detector.anchor_generator
    if hasattr(made, "_wh_pairs"):
        shares = [pairs.clamp(max=1).tolist() for pairs in made._wh_pairs]
        return Anchors(_frozen(shares), of_image=True, centre=0.5, scale=(0.1, 0.2))
    corners = [each / 2 ** (3 + level) for level, each in enumerate(made.cell_anchors)]
    sides = [(each[:, 2:] - each[:, :2]).tolist() for each in corners]
    return Anchors(_frozen(sides), of_image=False, centre=0.0, scale=(1.0, 1.0))


def _frozen(sides: list[list[list[float]]]) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((width, height) for width, height in level) for level in sides)


def _expect_little(net: nn.Module) -> None:
    """SSDlite was made for a softmax with a background class, where a sigmoid has to start from rare objects; and for
    trainings of weeks, where its running statistics may follow more slowly."""
    from torch import nn

    from components.model.detector_nets import RARE

    for layer in class_layers(net):
        nn.init.constant_(layer.bias, RARE)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
