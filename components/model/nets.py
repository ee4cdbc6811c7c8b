"""Modules of our own: `Normalised`, around every net; `ResNet9`, for small images; `LeNet5`, for the smallest.

The one file of components.model that needs torch as soon as it is imported, since a module must inherit from
`nn.Module`: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """RGB images as they are stored, uint8 or float in 0..255, (N, 3, S, S) -> logits (N, C) of `net`.

    The only place where pixels become the numbers a net was trained on: training, evaluation and the exported graph
    all run through it. Its two buffers are not in the state dict; they stand in the model's card.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images.float() * self.scale + self.shift)
        return logits


class ResNet9(nn.Module):
    """Eight convolutions and a linear layer for small images: 0.6 million weights, 36 million products at 32 px.

    After David Page's ResNet-9, with the widths and the 2x2 stem of Keller Jordan's airbench, which put the arithmetic
    where it pays on CIFAR-10; it trains from scratch in minutes on a CPU. Takes any size from 16 px, made for 32 to 64.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = _convolution(3, 24, side=2)
        self.stage1 = nn.Sequential(_convolution(24, width, pool=True), _Residual(width))
        self.stage2 = nn.Sequential(_convolution(width, 4 * width, pool=True), _Residual(4 * width))
        self.stage3 = nn.Sequential(_convolution(4 * width, 4 * width, pool=True), _Residual(4 * width, depth=2))
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stage3(self.stage2(self.stage1(self.stem(images))))
        logits: Tensor = self.head(features.amax(dim=(2, 3)))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998), with ReLU and max pooling in place of tanh and subsampling: 62 thousand weights.

    Made for 32 px; images of another size are resized to that. No normalisation: batches of any size train alike.
    """

    SIDE = 32  # px

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(16 * 5 * 5, 120), nn.ReLU(inplace=True), nn.Dropout(0.0)),
            *(nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, classes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.SIDE:
            images = nn.functional.interpolate(images, (self.SIDE, self.SIDE), mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def _convolution(inputs: int, outputs: int, side: int = 3, pool: bool = False) -> nn.Sequential:
    """Convolution, a halving of the image's side where `pool`, normalisation, ReLU."""
    halve = [nn.MaxPool2d(2)] if pool else []
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 3, bias=False)
    return nn.Sequential(convolution, *halve, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, channels: int, depth: int = 1) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(_convolution(channels, channels) for _ in range(depth)))

    def forward(self, features: Tensor) -> Tensor:
        total: Tensor = features + self.inner(features)
        return total
