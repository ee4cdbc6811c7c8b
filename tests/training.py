"""Training for tests: small shapes as an ImageSet, small params, and one call that trains in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from components.data.dataset import ImageSet
from components.model.train import train
from components.params import AugmentParams, ImageParams, TrainParams
from components.report import Silent
from components.tasks import task_named
from tests.drawing import SHAPES, draw

TASK = task_named("classification")
IMAGE = ImageParams(size=16, fit="stretch", mean=(0.3, 0.3, 0.3), std=(0.25, 0.25, 0.25))
NO_AUGMENT = AugmentParams(
    policy="none",
    shift=0,
    flip=False,
    flip_vertical=False,
    rotate=0,
    scale=0,
    crop=0,
    mosaic=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur=0,
    erase=0,
    mixup=0,
    cutmix=0,
)
AUGMENT = replace(
    NO_AUGMENT, shift=0.1, flip=True, rotate=5, scale=0.1, brightness=0.1, contrast=0.1, blur=0.2, erase=0.2
)
PARAMS = TrainParams(
    arch="resnet9",
    weights="none",
    seed=7,
    epochs=3,
    folds=0,
    freeze_epochs=0,
    unfreeze=(),
    batch_size=16,
    accumulate=1,
    sampler="shuffle",
    optimizer="adamw",
    lr=0.003,
    layer_decay=1.0,
    momentum=0.9,
    weight_decay=0.05,
    clip_norm=0.0,
    schedule="cosine",
    warmup_epochs=0.5,
    loss="auto",
    gamma=2.0,
    label_smoothing=0.05,
    class_weights="none",
    dropout=None,
    ema=0.0,
    patience=0,
    precision="fp32",
    launcher="local",
    processes=0,
    augment=AUGMENT,
)


def shapes(train_images: int = 12, val_images: int = 4, names: tuple[str, ...] = SHAPES, size: int = 16) -> ImageSet:
    """So many of each shape, val first as in the pixel cache."""
    rows = [("val", name, seed) for name in names for seed in range(val_images)]
    rows += [("train", name, 1000 + seed) for name in names for seed in range(train_images)]
    pixels = np.stack([np.asarray(draw(name, seed, size)).transpose(2, 0, 1) for _, name, seed in rows])
    return ImageSet(
        [f"{split}/{name}/{seed}" for split, name, seed in rows],
        [name for _, name, _ in rows],
        [split for split, _, _ in rows],
        pixels,
        [(size, size)] * len(rows),
        data_version="0123456789ab",
    )


def run(
    folder: Path, images: ImageSet, report: Any = None, start: Path | None = None, **changes: Any
) -> dict[str, torch.Tensor]:
    """Train in `folder` with PARAMS but for `changes`; return the weights."""
    train_in(folder, images, report, start, **changes)
    return load_file(folder / "model" / "model.safetensors")


def train_in(
    folder: Path, images: ImageSet, report: Any = None, start: Path | None = None, **changes: Any
) -> dict[str, float]:
    """The same, returning the metrics."""
    torch.set_num_threads(1)  # threads that wait for each other on busy cores cost more than they give
    params = replace(PARAMS, **changes)
    start = start or folder / "start"
    return train(images, folder / "model", start, folder / "checkpoints", params, IMAGE, TASK, report or Silent())


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
