"""Do made images help? Trainings with and without them on equal budgets, judged on real images that were held out.

In: real and made training images, real val images, params. Out: a `Proof`: a verdict for each ratio of made to real
images, and which made images stay. Budgets are equal to the step: an epoch has the same number of images for all, the
fewer the images the more often each comes, and the weights of the last step are judged, so that val picks nothing but
the ratio. All verdicts together are wrong at most as often as `confidence` allows: each ratio, and in it each class,
gets its part of that (Bonferroni).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.data.dataset import ImageSet
from components.params import ImageParams, SynthesizeParams, TrainParams
from components.report import Report, Silent
from components.synthesis import SynthesisError
from components.synthesis.evidence import Measure, compare, compare_scores
from components.synthesis.findings import ClassFinding, Finding, Proof
from components.tasks import USUAL, Outputs, Targets, Task, classes_of

Child = Callable[[str], AbstractContextManager[Report]]  # a report for one training, by its name
MADE = "synthetic"  # kind of a label


@dataclass(frozen=True)
class Arm:
    """Trainings on the real images and the first made ones; `ratio` is made / real, 0 for none."""

    ratio: float
    made: tuple[int, ...]  # rows of the train images
    real: tuple[int, ...]

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """`epoch` rows: each image as often as any other, to within one."""
        return np.resize(np.array([*self.real, *self.made], dtype=np.int64), epoch)


@dataclass(frozen=True)
class Bench:
    """What all trainings of a proof share."""

    train: ImageSet
    val: ImageSet
    classes: tuple[str, ...]
    targets: Targets  # of val
    params: TrainParams
    image: ImageParams
    task: Task
    folder: Path  # of checkpoints


def prove(
    images: ImageSet,
    train: TrainParams,
    image: ImageParams,
    params: SynthesizeParams,
    task: Task,
    folder: Path,
    report: Report,
    child: Child,
) -> Proof:
    """Train on the train split of `images`, of which those of kind "synthetic" are the made ones; compare, decide.

    Goes on from checkpoints in `folder` after `kill -9`. Raises SynthesisError when there is nothing to compare.
    """
    train_set, val = images.of("train"), images.of("val")
    arms = arms_of(train_set, val, params)
    longest = max(len(arm.real) + len(arm.made) for arm in arms)
    classes = classes_of(task, [train_set.labels[row] for row in arms[0].real] + val.labels)
    recipe = budget(train, len(arms[0].real), longest)
    bench = Bench(train_set, val, classes, task.targets(val, classes), recipe, image, task, folder)
    outputs = [_trainings(arm, longest, bench, params.seeds, report, child) for arm in arms]
    findings = [
        finding(arm, found, outputs[0], bench, 1 - (1 - params.confidence) / (len(arms) - 1))
        for arm, found in zip(arms[1:], outputs[1:], strict=True)
    ]
    baseline = [task.metrics(each, bench.targets, classes, USUAL)[task.primary] for each in outputs[0]]
    steps = recipe.epochs * -(-longest // (recipe.batch_size * recipe.accumulate))
    kept = frozenset(train_set.ids[row] for row in _best(arms, findings))
    return Proof(task.primary, len(val), steps, tuple(baseline), tuple(findings), kept)


def arms_of(train: ImageSet, val: ImageSet, params: SynthesizeParams) -> list[Arm]:
    """Without made images first, then each ratio; a smaller one's images are among a larger one's.

    A ratio that more made images are wanted for than there are takes all of them.
    """
    if MADE in val.kinds:
        raise SynthesisError(f"{val.kinds.count(MADE)} made image(s) are in val. Run `visionloop stage split`.")
    made = [kind == MADE for kind in train.kinds] or [False] * len(train)
    real = tuple(row for row in range(len(train)) if not made[row])
    stock = sorted((row for row in range(len(train)) if made[row]), key=lambda row: _draw(train.ids[row], params.seed))
    if not stock or not real or not len(val):
        raise SynthesisError(
            f"There are {len(stock)} made and {len(real)} real training images, and {len(val)} val images; all three "
            "are needed to compare. Make some images: `visionloop synthesize`."
        )
    counts = sorted({min(len(stock), max(1, round(ratio * len(real)))) for ratio in params.ratios})
    return [Arm(count / len(real), tuple(stock[:count]), real) for count in (0, *counts)]


def budget(train: TrainParams, real: int, longest: int) -> TrainParams:
    """As many epochs of `longest` images as come nearest to what the real images alone would be trained."""
    return replace(
        train,
        epochs=max(1, round(train.epochs * real / longest)),
        sampler="shuffle" if train.sampler == "shuffle" else "balanced",
        folds=0,
        patience=0,
        launcher="local",
    )


def joined(val: ImageSet, train: ImageSet, rows: NDArray[np.int64]) -> ImageSet:
    """All of `val`, and of `train` the images in `rows`, which may come more than once."""
    return replace(
        val,
        ids=val.ids + [train.ids[row] for row in rows],
        labels=val.labels + [train.labels[row] for row in rows],
        splits=["val"] * len(val) + ["train"] * len(rows),
        pixels=np.concatenate([val.pixels, train.pixels[rows]]),
        sizes=val.sizes + [train.sizes[row] for row in rows],
        groups=[],
        kinds=[],
    )


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _best(arms: Sequence[Arm], findings: Sequence[Finding]) -> tuple[int, ...]:
    """The made images of the ratio that surely helps most; none where no ratio is proven to."""
    helps = [(found.difference.low, arm.made) for arm, found in zip(arms[1:], findings, strict=True) if found.helps]
    return max(helps, key=lambda each: each[0], default=(0.0, ()))[1]


def _trainings(arm: Arm, epoch: int, bench: Bench, seeds: int, report: Report, child: Child) -> list[Outputs]:
    """What the trainings of one arm answer to val, one a seed."""
    found = []
    for seed in range(bench.params.seed, bench.params.seed + seeds):
        name = f"ratio {arm.ratio:.3g}, seed {seed}"
        with child(name) as tracked:
            watched = _OneTraining(report, name, tracked)
            outputs = _answers(arm.rows(epoch), replace(bench.params, seed=seed), bench, watched)
            metrics = bench.task.metrics(outputs, bench.targets, bench.classes, USUAL)
            tracked.metrics({f"proof/{key}": value for key, value in metrics.items()})
        value = metrics[bench.task.primary]
        report.line(f"prove: {name}, {len(arm.made):,} made images: {bench.task.primary} {value:.4f}")
        found.append(outputs)
    return found


def _answers(rows: NDArray[np.int64], params: TrainParams, bench: Bench, watched: _OneTraining) -> Outputs:
    """Of the weights after the last step."""
    from components.model.fitting import fit

    images = joined(bench.val, bench.train, rows)
    place = bench.folder / watched.name.replace(" ", "-").replace(",", "")
    return fit(images, bench.folder / "none", place, params, bench.image, bench.task, watched).learner.answers()


def finding(arm: Arm, made: Sequence[Outputs], real: Sequence[Outputs], bench: Bench, confidence: float) -> Finding:
    """How the trainings with the made images of `arm` compare with those without."""
    task, about = bench.task, (bench.targets, bench.classes)
    scores = [[task.scores(each, *about) for each in group] for group in (made, real)]
    differ = int((np.stack(scores[0]) != np.stack(scores[1])).any(axis=0).sum())
    measures = [[_measure(each, bench) for each in group] for group in (made, real)]
    difference = compare(measures[0], measures[1], len(bench.val), differ, confidence)
    values = tuple(task.metrics(each, *about, USUAL)[task.primary] for each in made)
    return Finding(arm.ratio, len(arm.made), values, difference, _classes(made, real, bench, confidence))


def _measure(outputs: Outputs, bench: Bench) -> Measure:
    task = bench.task
    found = task.measure(task.primary, outputs, bench.targets, bench.classes, USUAL)
    if found is not None:
        return found
    scores = task.scores(outputs, bench.targets, bench.classes)
    return lambda at: float(scores[at].mean())


def _classes(
    made: Sequence[Outputs], real: Sequence[Outputs], bench: Bench, confidence: float
) -> tuple[ClassFinding, ...]:
    """Class by class, on the scores that images have for it."""
    task, about = bench.task, (bench.targets, bench.classes)
    scores = [np.stack([task.class_scores(each, *about) for each in group]) for group in (made, real)]
    level = 1 - (1 - confidence) / len(bench.classes)
    values = [_class_values(group, bench) for group in (made, real)]
    return tuple(
        ClassFinding(
            name,
            int((~np.isnan(scores[0][0][:, place])).sum()),
            values[1][name],
            values[0][name],
            compare_scores(scores[0][:, :, place], scores[1][:, :, place], level),
        )
        for place, name in enumerate(bench.classes)
    )


def _class_values(group: Sequence[Outputs], bench: Bench) -> dict[str, float]:
    """The task's class metric, mean over seeds."""
    rows = [row for each in group for row in bench.task.per_class(each, bench.targets, bench.classes)]
    metric = bench.task.class_metric
    return {
        name: float(np.mean([float(row[metric]) for row in rows if row["class"] == name])) for name in bench.classes
    }


@dataclass(frozen=True)
class _OneTraining(Silent):
    """Progress to the terminal under the name of the training, everything else to its own report."""

    report: Report
    name: str
    tracked: Report

    def progress(self, done: int, total: int, what: str) -> None:
        self.report.progress(done, total, f"{self.name}: {what}")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.tracked.metrics(values, step)
