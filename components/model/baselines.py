"""The simplest classifiers a model must beat: always the largest class, and a line through small pictures.

In: training and test images with their targets. Out: logits for the test images, to be scored like the model's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.tasks import Logits, Targets

SMALL = 8  # px, side of the pictures that the linear model sees
MOST = 10_000  # training images that it learns from


def majority(train: Targets, images: int, classes: int) -> Logits:
    """(images, classes): the most frequent class of `train` for every image."""
    answer = np.bincount(train, minlength=classes).argmax()
    return np.tile(np.eye(classes, dtype=np.float32)[answer], (images, 1))


def linear(pixels: NDArray[np.uint8], targets: Targets, test: NDArray[np.uint8], classes: int) -> Logits:
    """(len(test), classes): least squares with a ridge, one class against the rest, on pictures of 8x8 RGB pixels."""
    from sklearn.linear_model import Ridge

    rows = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), MOST)).astype(np.int64))
    model = Ridge(alpha=1.0, solver="cholesky")
    model.fit(_small(pixels[rows]), np.eye(classes)[targets[rows]])
    return np.asarray(model.predict(_small(test)), dtype=np.float32)


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 3, S, S) -> (N, 192), 0..1: means over an 8x8 grid of equal cells."""
    cell = pixels.shape[-1] // SMALL  # px; the model needs 8 at least, and a rest at the right and bottom is left out
    cells = pixels[:, :, : cell * SMALL, : cell * SMALL].reshape(len(pixels), 3, SMALL, cell, SMALL, cell)
    return np.asarray(cells.mean(axis=(3, 5)).reshape(len(pixels), -1) / 255)
