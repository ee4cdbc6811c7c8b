"""The simplest classifiers a model must beat: always the largest class, and a line through small pictures.

In: pixels, and what should be answered as 0 or 1 for each class. Out: logits for the test images, to be scored like the
model's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Logits

SMALL = 8  # px, side of the pictures that the linear model sees
MOST = 10_000  # training images that it learns from


def majority(wanted: NDArray[np.float32], images: int) -> Logits:
    """(images, C): for every image the class that most rows of `wanted` (N, C; 0 or 1) have."""
    answer = wanted.sum(axis=0).argmax()
    return np.tile(np.eye(wanted.shape[1], dtype=np.float32)[answer], (images, 1))


def linear(pixels: NDArray[np.uint8], wanted: NDArray[np.float32], test: NDArray[np.uint8]) -> Logits:
    """(len(test), C): least squares with a ridge, each column of `wanted` alone, on pictures of 8x8 RGB pixels."""
    from sklearn.linear_model import Ridge

    rows = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), MOST)).astype(np.int64))
    model = Ridge(alpha=1.0, solver="cholesky")
    model.fit(_small(pixels[rows]), wanted[rows])
    return np.asarray(model.predict(_small(test)), dtype=np.float32).reshape(len(test), -1)


def _small(pixels: NDArray[np.uint8]) -> Floats:
    """(N, 3, S, S) -> (N, 192), 0..1: means over an 8x8 grid of equal cells."""
    cell = pixels.shape[-1] // SMALL  # px; the model needs 8 at least, and a rest at the right and bottom is left out
    cells = pixels[:, :, : cell * SMALL, : cell * SMALL].reshape(len(pixels), 3, SMALL, cell, SMALL, cell)
    return np.asarray(cells.mean(axis=(3, 5)).reshape(len(pixels), -1) / 255)
