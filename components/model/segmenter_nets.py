"""Nets that give each pixel a class: wrappers of torchvision's, and `Pyramid`, light enough to train on a CPU.

All take normalised images, float (N, 3, S, S), and answer one tensor of logits, (N, C, s, s) with s = S / stride, in
training and in evaluation alike. Needs torch as soon as it is imported: import it inside functions.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

STEM = ("conv1", "bn1", "relu", "maxpool")
STAGES = ("layer1", "layer2", "layer3", "layer4")  # of a ResNet: strides 4, 8, 16 and 32


class Plain(nn.Module):
    """A DeepLabV3 or FCN of torchvision, without its auxiliary head and its last enlargement; stride 8 or 16."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.backbone = net.get_submodule("backbone")
        self.classifier = net.get_submodule("classifier")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(images)["out"])
        return logits


class LiteAspp(nn.Module):
    """The LR-ASPP of torchvision (Howard et al. 2019) without its last enlargement; stride 8."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.backbone = net.get_submodule("backbone")
        self.classifier = net.get_submodule("classifier")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(images))
        return logits


class Pyramid(nn.Module):
    """A ResNet with a top-down path (feature pyramid, Lin et al. 2017) to one map of stride 4.

    `width` channels on the way down: with a resnet18 and 96 of them 3.1 billion products at 256 px.
    """

    def __init__(self, body: nn.Module, classes: int, width: int = 96) -> None:
        super().__init__()
        self.backbone = _Body(body)
        self.lateral = nn.ModuleList(_convolution(inputs, width, 1) for inputs in self.backbone.channels)
        self.smooth = nn.ModuleList(_convolution(width, width, 3) for _ in STAGES[:-1])
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [lateral(features) for lateral, features in zip(self.lateral, self.backbone(images), strict=True)]
        found = levels.pop()
        for smooth, finer in zip(self.smooth, reversed(levels), strict=True):
            found = smooth(finer + interpolate(found, size=list(finer.shape[-2:]), mode="bilinear"))
        logits: Tensor = self.classifier(found)
        return logits


class _Body(nn.Module):
    """The stages of a ResNet, under the names that its weights have."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        for name in (*STEM, *STAGES):
            self.add_module(name, net.get_submodule(name))

    @property
    def channels(self) -> list[int]:
        return [_last_width(self.get_submodule(name)) for name in STAGES]

    def forward(self, images: Tensor) -> list[Tensor]:
        found = [images]
        for name in (*STEM, *STAGES):
            found.append(self.get_submodule(name)(found[-1]))
        return found[-len(STAGES) :]


def _last_width(stage: nn.Module) -> int:
    return [module.num_features for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1]


def _convolution(inputs: int, outputs: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
