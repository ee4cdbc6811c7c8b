"""Which learning rate suits a recipe: the range test of Smith (2017), in the steps of an epoch or two.

In: the images and params that a training would get. Out: the loss at each rate of a sweep that rises from far too low
until the loss explodes, a rate to take, and a picture. Nothing is kept of the net.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.data.dataset import ImageSet
from components.model.fitting import new_learner
from components.params import ImageParams, TrainParams
from components.report import Report
from components.tasks import Task

Floats = NDArray[np.float64]
LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 120
EXPLODED = 4.0  # times the lowest loss so far: no higher rate is tried
AT_ONCE = 10  # steps between two looks at the loss
WIDTH = 3  # steps to each side that the loss is smoothed over
BELOW = 10.0  # times below the rate with the lowest loss, which is where learning begins to fail


@dataclass(frozen=True)
class Sweep:
    """`losses` are the smoothed training losses at `rates`; `proposed` is the rate to take."""

    rates: Floats
    losses: Floats
    proposed: float


def find_rate(
    images: ImageSet, start: Path, params: TrainParams, image: ImageParams, task: Task, report: Report
) -> Sweep:
    """Sweep the rates on a net as a training would begin with it; report the curve. Raises what `fitting.fit` does."""
    import torch

    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses: list[float] = []
    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        learner, _ = new_learner(images, start, params, image, task, report)
        while len(losses) < STEPS and not _exploded(losses):
            ahead = rates[len(losses) : len(losses) + AT_ONCE].tolist()
            losses += learner.learn(ahead, 1.0, params.seed + len(losses), len(losses), lambda _: None).tolist()
            report.progress(len(losses), STEPS, "try learning rates")
    found = proposal(rates[: len(losses)], np.array(losses))
    report.picture("lr_find", draw_sweep(found))
    return found


def proposal(rates: Floats, losses: Floats) -> Sweep:
    """A tenth of the rate with the lowest smoothed loss; what is not finite is as bad as the worst."""
    finite = np.where(np.isfinite(losses), losses, np.nanmax(np.where(np.isfinite(losses), losses, np.nan)))
    weights = np.exp(-0.5 * (np.arange(-WIDTH, WIDTH + 1) / (WIDTH / 2)) ** 2)
    padded = np.pad(finite, WIDTH, mode="edge")
    smooth = np.convolve(padded, weights / weights.sum(), mode="valid")
    return Sweep(rates, smooth, float(f"{rates[smooth.argmin()] / BELOW:.1e}"))


def _exploded(losses: list[float]) -> bool:
    return bool(losses) and not losses[-1] < EXPLODED * max(min(losses), 1e-3)


def draw_sweep(sweep: Sweep) -> bytes:
    """The smoothed loss by rate, with the proposed rate; a PNG."""
    from matplotlib.figure import Figure

    from components.tasks.pictures import BLUE, ORANGE, png_of

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(sweep.rates, sweep.losses, color=BLUE)
    axes.axvline(sweep.proposed, color=ORANGE, label=f"proposed: {sweep.proposed:g}")
    low, high = sweep.losses.min(), sweep.losses[0]
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="train/loss", ylim=(low - 0.1 * (high - low), 1.5 * high - low / 2)
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure)
