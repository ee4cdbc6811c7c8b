"""Detectors as nets that answer with the one tensor of `components.tasks.detector_outputs`.

`Fcos`, a light one of our own around any backbone, and wrappers of torchvision's detectors, whose own forward passes
take lists, answer with lists and cannot be exported. Needs torch as soon as it is imported: import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, logsigmoid, softplus

STRIDES = (8, 16, 32)  # px, of the levels of `Fcos`
RARE = -4.6  # logit of a class before training: a probability of 0.01 (Lin et al. 2017)
LARGEST = math.log(1000 / 16)  # of a logarithm of sides that anchors grow by, as in torchvision


class Body(nn.Module):
    """The part of a classification net that makes feature maps: its steps in order, tapped at STRIDES."""

    def __init__(self, steps: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = list(steps)
        for name, step in steps.items():
            self.add_module(name, step)
        last = self._measure()
        self.taps = [last[stride][0] for stride in STRIDES]
        self.widths = [last[stride][1] for stride in STRIDES]

    def forward(self, images: Tensor) -> list[Tensor]:
        features, maps = images, []
        for name in self.names:
            features = self.get_submodule(name)(features)
            if name in self.taps:
                maps.append(features)
        return maps

    def _measure(self) -> dict[int, tuple[str, int]]:
        """By stride, the last step that has it, and its channels."""
        last = {}
        features = torch.zeros(1, 3, 64, 64)
        was_training = self.training
        self.eval()
        with torch.no_grad():
            for name in self.names:
                features = self.get_submodule(name)(features)
                last[64 // features.shape[-1]] = name, features.shape[1]
        self.train(was_training)
        return last


class Pyramid(nn.Module):
    """Feature maps -> maps of one width, each with what the coarser ones know (Lin et al. 2017)."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(_convolution(each, width, side=1) for each in widths)
        self.outer = nn.ModuleList(_convolution(width, width) for _ in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        joined = [inner(features) for inner, features in zip(self.inner, maps, strict=True)]
        for level in range(len(joined) - 2, -1, -1):
            side = joined[level].shape[-2:]
            joined[level] = joined[level] + interpolate(joined[level + 1], size=side, mode="nearest")
        return [outer(features) for outer, features in zip(self.outer, joined, strict=True)]


class Tower(nn.Module):
    """Convolutions that all levels share, with a normalisation for each level (RTMDet: Lyu et al. 2022).

    Batch normalisation, which melts into the convolutions when the net is compiled, unlike group normalisation.
    """

    def __init__(self, width: int, depth: int, levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels)) for _ in range(depth))

    def forward(self, features: Tensor, level: int) -> Tensor:
        for convolution, norms in zip(self.convolutions, self.norms, strict=True):
            features = norms[level](convolution(features)).relu()  # type: ignore[index]
        return features


class Fcos(nn.Module):
    """One row a cell (after FCOS: Tian et al. 2019), without a centre-ness: the class scores tell the quality."""

    def __init__(self, body: Body, classes: int, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.body = body
        self.pyramid = Pyramid(body.widths, width)
        self.class_tower = Tower(width, depth, len(STRIDES))
        self.box_tower = Tower(width, depth, len(STRIDES))
        self.classes = nn.Conv2d(width, classes, 3, padding=1)
        self.boxes = nn.Conv2d(width, 4, 3, padding=1)
        _start(self.classes, RARE)
        _start(self.boxes, 2.0)  # cells: boxes four cells wide at first

    @property
    def class_layers(self) -> list[nn.Module]:
        return [self.classes]

    def forward(self, images: Tensor) -> Tensor:
        levels = [self._rows(features, level) for level, features in enumerate(self.pyramid(self.body(images)))]
        return torch.cat(levels, dim=1)

    def _rows(self, features: Tensor, level: int) -> Tensor:
        distances = self.boxes(self.box_tower(features, level)).float()
        logits = self.classes(self.class_tower(features, level)).float()
        distances, logits = (each.flatten(2).transpose(1, 2) for each in (distances, logits))
        cells = _cells(features, 1).expand(features.shape[0], -1, -1)
        return torch.cat([softplus(distances), cells, logits], dim=2)


class AnchorFree(nn.Module):
    """torchvision's FCOS, without what makes it want lists: images in, rows out."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.get_submodule("backbone")
        self.head: nn.Module = detector.get_submodule("head")

    @property
    def class_layers(self) -> list[nn.Module]:
        return [self.head.get_submodule("classification_head.cls_logits")]

    def forward(self, images: Tensor) -> Tensor:
        maps = list(self.backbone(images).values())
        said = self.head(maps)
        # Its score is of class times centre-ness; the loss asks the logits for both in one.
        logits = said["cls_logits"].float() + logsigmoid(said["bbox_ctrness"].float())
        corner = torch.tensor([0.5, 0.5, -0.5, -0.5], device=images.device)  # it measures from there, in cells
        cells = torch.cat([_cells(features, 1) for features in maps]).expand(images.shape[0], -1, -1)
        return torch.cat([said["bbox_regression"].float() + corner, cells, logits], dim=2)


@dataclass(frozen=True)
class Anchors:
    """The boxes that a detector starts from."""

    sides: tuple[tuple[tuple[float, float], ...], ...]  # width and height, by level and anchor
    of_image: bool  # whether sides are shares of the image, or else cells
    centre: float  # where in its cell an anchor lies, 0 left and top, 0.5 in the middle
    scale: tuple[float, float]  # that the net's shifts and logarithms of sides are multiplied by

    def table(self, maps: Sequence[Tensor]) -> Tensor:
        """(A, 2): width and height of each row's anchor, in cells."""
        by_level = []
        for features, sides in zip(maps, self.sides, strict=True):
            across = features.shape[-1]
            unit = across if self.of_image else 1
            by_level.append(torch.tensor(sides, device=features.device).repeat(across**2, 1) * unit)
        return torch.cat(by_level)


class Anchored(nn.Module):
    """torchvision's RetinaNet and SSDlite: several anchors a cell, each moved and grown into a box."""

    def __init__(self, detector: nn.Module, anchors: Anchors) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.get_submodule("backbone")
        self.head: nn.Module = detector.get_submodule("head")
        self.anchors = anchors

    @property
    def class_layers(self) -> list[nn.Module]:
        head = self.head.get_submodule("classification_head")
        if hasattr(head, "cls_logits"):
            return [head.get_submodule("cls_logits")]
        return [block[-1] for block in head.get_submodule("module_list").children()]  # type: ignore[index]

    def forward(self, images: Tensor) -> Tensor:
        maps = list(self.backbone(images).values())
        said = self.head(maps)
        counts = [len(sides) for sides in self.anchors.sides]
        cells = torch.cat([_cells(features, count) for features, count in zip(maps, counts, strict=True)])
        distances = self._distances(said["bbox_regression"].float(), self.anchors.table(maps))
        return torch.cat([distances, cells.expand(images.shape[0], -1, -1), said["cls_logits"].float()], dim=2)

    def _distances(self, code: Tensor, sides: Tensor) -> Tensor:
        """From the centre of the cell to the edges; `code` (N, A, 4) as in Faster R-CNN (Ren et al. 2015)."""
        shift = code[..., :2] * self.anchors.scale[0] * sides + (self.anchors.centre - 0.5)
        half = (code[..., 2:] * self.anchors.scale[1]).clamp(max=LARGEST).exp() * sides / 2
        return torch.cat([half - shift, half + shift], dim=2)


def _convolution(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _start(layer: nn.Conv2d, bias: float) -> None:
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(layer.bias, bias)


def _cells(features: Tensor, anchors: int) -> Tensor:
    """(H * W * anchors, 3): column, row, and cells across, of a square map (N, C, H, W)."""
    across = features.shape[-1]
    steps = torch.arange(across, device=features.device, dtype=torch.float32)
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    cells = torch.stack([column, row, torch.full_like(row, across)], dim=-1)
    return cells.view(-1, 1, 3).expand(-1, anchors, -1).reshape(-1, 3)
