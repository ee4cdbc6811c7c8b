"""What helps is kept and what hurts is not: equal budgets, honest intervals, verdicts that are right."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from components.data.annotations import areas_text, labels_text, run_lengths
from components.data.dataset import ImageSet
from components.report import Silent
from components.synthesis import SynthesisError
from components.synthesis.batch import make_image
from components.synthesis.evidence import compare, compare_scores, seed_luck
from components.synthesis.findings import ClassFinding, Finding, Proof
from components.synthesis.proof import Arm, Bench, arms_of, budget, finding, joined, prove
from components.synthesis.proof_pictures import draw_proof
from components.tasks import USUAL, classes_of, task_named
from tests import boxed
from tests.cutting import PLAIN, cutout_of, noise, rgba_of, stock
from tests.drawing import SHAPES, draw
from tests.training import IMAGE, NO_AUGMENT, PARAMS

TASK = task_named("classification")
SIDE = 32
BRIGHT = [(240, 180, 160), (170, 250, 190), (200, 200, 200), (160, 190, 250), (250, 240, 170), (180, 160, 230)]
IMAGE_32 = replace(IMAGE, size=SIDE)
RECIPE = replace(PARAMS, epochs=20, batch_size=16, lr=0.004, augment=replace(NO_AUGMENT, flip=True, shift=0.1))


def images_of(rows: Sequence[tuple[str, str, str, np.ndarray]]) -> ImageSet:
    """(split, label, kind, picture) -> ImageSet, val first."""
    rows = sorted(rows, key=lambda row: row[0] != "val")
    return ImageSet(
        ids=[hashlib.sha256(picture.tobytes()).hexdigest() for *_, picture in rows],
        labels=[label for _, label, _, _ in rows],
        splits=[split for split, *_ in rows],
        pixels=np.stack([picture.transpose(2, 0, 1) for *_, picture in rows]),
        sizes=[(SIDE, SIDE)] * len(rows),
        kinds=[kind for _, _, kind, _ in rows],
    )


def real(split: str, counts: dict[str, int], first: int) -> list[tuple[str, str, str, np.ndarray]]:
    return [
        (split, shape, "human", np.asarray(draw(shape, first + seed, SIDE)))
        for shape, count in counts.items()
        for seed in range(count)
    ]


def made(count: int, label_of: dict[str, str]) -> list[tuple[str, str, str, np.ndarray]]:
    """`count` made images of cut-out shapes, each under the label that `label_of` gives its shape."""
    cutouts = [
        cutout_of(shape, label=label, rgba=rgba_of(shape, 24, colour), name=f"{shape}/{place}")
        for shape, label in label_of.items()
        for place, colour in enumerate(BRIGHT)
    ]
    params = replace(PLAIN, size=(0.44, 0.72), seed=3)
    kit = stock(cutouts, [noise(seed, SIDE) for seed in range(60)], single=True, known=SHAPES)
    images = [make_image(kit, number, params) for number in range(count)]
    return [("train", each.said.labels[0], "synthetic", each.composite.picture) for each in images]


def holding(count: int, made_count: int, val: int = 3) -> ImageSet:
    rows = [("val", "square", "human", noise(900 + place, 8)) for place in range(val)]
    rows += [("train", "square", "human", noise(place, 8)) for place in range(count)]
    return images_of([*rows, *(("train", "circle", "synthetic", noise(500 + place, 8)) for place in range(made_count))])


def test_smaller_ratios_hold_part_of_the_images_of_larger_ones_and_all_hold_the_same_real_ones():
    images = holding(10, 30)
    train = images.of("train")
    arms = arms_of(train, images.of("val"), replace(PLAIN, ratios=(2.0, 0.5, 1.0)))
    assert [(arm.ratio, len(arm.made), len(arm.real)) for arm in arms] == [
        (0, 0, 10),
        (0.5, 5, 10),
        (1.0, 10, 10),
        (2.0, 20, 10),
    ]
    assert set(arms[1].made) < set(arms[2].made) < set(arms[3].made)
    assert {train.kinds[row] for row in arms[3].made} == {"synthetic"}
    assert {train.kinds[row] for arm in arms for row in arm.real} == {"human"}


def test_a_ratio_beyond_the_stock_takes_all_there_is_once():
    arms = arms_of(holding(10, 6).of("train"), holding(10, 6).of("val"), replace(PLAIN, ratios=(0.3, 1.0, 2.0)))
    assert [len(arm.made) for arm in arms] == [0, 3, 6]


def test_every_training_has_the_same_number_of_steps_and_each_image_comes_equally_often():
    images = holding(10, 20)
    train, val = images.of("train"), images.of("val")
    arms = arms_of(train, val, replace(PLAIN, ratios=(0.5, 2.0)))
    for arm in arms:
        rows = arm.rows(30)
        uses = np.bincount(rows, minlength=30)[[*arm.real, *arm.made]]
        assert len(rows) == 30
        assert uses.max() - uses.min() <= 1
        whole = joined(val, train, rows)
        assert (len(whole.of("train")), whole.of("val").ids) == (30, val.ids)
        assert np.array_equal(whole.of("train").pixels, train.pixels[rows])
        assert whole.of("train").labels == [train.labels[row] for row in rows]
    assert budget(replace(RECIPE, epochs=30, patience=5, folds=3), 10, 30).epochs == 10
    assert budget(replace(RECIPE, patience=5, folds=3), 10, 30).patience == 0
    assert budget(replace(RECIPE, sampler="oversample"), 10, 30).sampler == "balanced"  # not the longest class times C


def test_made_images_in_val_or_no_made_images_stop_the_proof():
    images = holding(4, 0)
    with pytest.raises(SynthesisError, match=r"0 made and 4 real training images.*visionloop synthesize"):
        arms_of(images.of("train"), images.of("val"), PLAIN)
    leaked = replace(holding(4, 2).of("val"), kinds=["human", "synthetic", "human"])
    with pytest.raises(SynthesisError, match=r"1 made image\(s\) are in val"):
        arms_of(holding(4, 2).of("train"), leaked, PLAIN)


def test_luck_of_the_seed_widens_the_interval_as_students_t_says():
    assert seed_luck([0.1], 0.95) == 0
    assert seed_luck([0.1, 0.2, 0.3], 0.95) == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    scores = np.random.default_rng(0).integers(0, 2, 80).astype(float)
    steady = compare([lambda at: scores[at].mean() + 0.1] * 2, [lambda at: scores[at].mean()] * 2, 80, 80, 0.95)
    assert (steady.value, steady.low, steady.high) == pytest.approx((0.1, 0.1, 0.1))
    shaky = compare(
        [lambda at: scores[at].mean() + 0.2, lambda at: scores[at].mean()],
        [lambda at: scores[at].mean()] * 2,
        80,
        80,
        0.95,
    )
    assert shaky.value == pytest.approx(0.1)
    assert shaky.low == -1  # no metric can lose more
    assert shaky.verdict == "no evidence"


def trial(random: np.random.Generator, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, (3 seeds, 150 images), with and without: images differ in difficulty, trainings in luck."""
    ease = random.normal(1.0, 1.0, 150)
    groups = [
        [(ease + shift + random.normal(0, 0.15) + random.normal(0, 0.7, 150) > 0).astype(float) for _ in range(3)]
        for shift in (gain, 0.0)
    ]
    return np.stack(groups[0]), np.stack(groups[1])


def test_made_images_that_change_nothing_are_rarely_said_to_help_or_hurt_and_a_clear_gain_is_seen():
    random = np.random.default_rng(5)
    verdicts = [compare_scores(*trial(random, 0.0), 0.95).verdict for _ in range(120)]
    assert verdicts.count("helps") + verdicts.count("hurts") <= 9  # 5% of 120 are 6
    gains = [compare_scores(*trial(random, 1.2), 0.95).verdict for _ in range(30)]
    assert gains.count("helps") >= 24
    losses = [compare_scores(*trial(random, -1.2), 0.95).verdict for _ in range(30)]
    assert losses.count("hurts") >= 24


def test_a_handful_of_images_settles_nothing():
    made, without = np.zeros((2, 200)), np.zeros((2, 200))
    made[:, :4] = 1
    assert compare_scores(made, without, 0.5).low > 0
    assert compare_scores(made, without, 0.5).verdict == "no evidence"
    assert compare_scores(np.full((2, 3), np.nan), np.zeros((2, 3)), 0.95).verdict == "no evidence"


def test_a_gain_on_the_whole_does_not_excuse_a_class_that_lost():
    better = compare_scores(np.ones((2, 60)), np.tile(np.arange(60) % 2.0, (2, 1)), 0.95)
    worse = compare_scores(np.tile(np.arange(60) % 2.0, (2, 1)), np.ones((2, 60)), 0.95)
    classes = (ClassFinding("cat", 60, 0.5, 1.0, better), ClassFinding("dog", 60, 1.0, 0.5, worse))
    found = Finding(0.5, 30, (0.9, 0.9), better, classes)
    assert (better.verdict, worse.verdict) == ("helps", "hurts")
    assert (found.verdict, found.hurt) == ("hurts", ["dog"])
    proof = Proof("top1", 60, 100, (0.7, 0.8), (found,), frozenset())
    assert [row.get("verdict") for row in proof.rows()] == [None, "hurts"]
    assert [(row["class"], row["verdict"]) for row in proof.class_rows()] == [("cat", "helps"), ("dog", "hurts")]
    assert proof.metrics()["proof/ratio_0.5/difference"] == pytest.approx(0.5)
    assert "hurts dog" in proof.lines()[1]
    assert draw_proof(proof) == draw_proof(proof)


def detected() -> tuple[ImageSet, np.ndarray, np.ndarray]:
    """Images, outputs that find every object, and outputs that find one in each image."""
    objects = [boxed.scene(seed)[1] for seed in range(24)]
    every, one = ([[(*each, 0.9) for each in found[:most]] for found in objects] for most in (9, 1))
    return boxed.images_of(objects), boxed.outputs(every), boxed.outputs(one)


def tagged() -> tuple[ImageSet, np.ndarray, np.ndarray]:
    shown = np.random.default_rng(3).integers(0, 2, (40, 2))
    labels = [labels_text(name for name, there in zip("ab", row, strict=True) if there) for row in shown]
    guessed = np.random.default_rng(4).normal(size=(40, 2)).astype(np.float32)
    return _blank(labels, 8), (shown * 8.0 - 4).astype(np.float32), guessed


def painted() -> tuple[ImageSet, np.ndarray, np.ndarray]:
    maps = np.random.default_rng(5).integers(0, 2, (20, 8, 8))
    labels = [
        areas_text({name: run_lengths(each == place) for place, name in enumerate("ab")}, (8, 8)) for each in maps
    ]
    right = np.stack([maps == place for place in (0, 1)], axis=1).astype(np.float32) * 8
    return _blank(labels, 8), right, np.random.default_rng(6).normal(size=right.shape).astype(np.float32)


def _blank(labels: Sequence[str], side: int) -> ImageSet:
    count, pixels = len(labels), np.zeros((len(labels), 3, side, side), dtype=np.uint8)
    return ImageSet([str(n) for n in range(count)], list(labels), ["val"] * count, pixels, [(side, side)] * count)


@pytest.mark.parametrize(
    ("name", "draw_case"), [("detection", detected), ("multilabel", tagged), ("segmentation", painted)]
)
def test_every_task_is_judged_by_its_own_metric_on_the_whole_and_by_class(name, draw_case, tmp_path):
    images, good, poor = draw_case()
    task = task_named(name)
    classes = classes_of(task, images.labels)
    bench = Bench(images, images, classes, task.targets(images, classes), RECIPE, IMAGE_32, task, tmp_path)
    arm = Arm(0.5, (0, 1), (2, 3, 4, 5))
    for made_outputs, real_outputs, verdict in (
        (good, poor, "helps"),
        (poor, good, "hurts"),
        (poor, poor, "no evidence"),
    ):
        found = finding(arm, [made_outputs] * 2, [real_outputs] * 2, bench, 0.95)
        assert found.verdict == verdict
        assert [each.name for each in found.classes] == list(classes)
        expected = task.metrics(made_outputs, bench.targets, classes, USUAL)[task.primary]
        assert found.values == (expected, expected)
        baseline = task.metrics(real_outputs, bench.targets, classes, USUAL)[task.primary]
        assert found.difference.value == pytest.approx(expected - baseline, abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("counts", "label_of", "ratio", "verdict"),
    [
        # One real cross among other shapes, and plenty of cut-out ones.
        ({"circle": 10, "cross": 1, "square": 10, "triangle": 10}, {"cross": "cross"}, 0.8, "helps"),
        # Real images of all; the cut-out circles and squares are in each other's folders.
        (dict.fromkeys(SHAPES, 8), {"circle": "square", "square": "circle"}, 1.5, "hurts"),
    ],
    ids=["helps", "hurts"],
)
def test_the_proof_tells_what_helps_from_what_hurts(counts, label_of, ratio, verdict, tmp_path, report):
    torch.set_num_threads(1)
    held = real("val", dict.fromkeys(SHAPES, 30), 5000)
    images = images_of([*held, *real("train", counts, 0), *made(60, label_of)])
    params = replace(PLAIN, ratios=(ratio,), seeds=3)
    proof = prove(images, RECIPE, IMAGE_32, params, TASK, tmp_path, report, lambda _: nullcontext(Silent()))
    assert [each.verdict for each in proof.findings] == [verdict], proof.lines()
    kept = {name for name, kind in zip(images.ids, images.kinds, strict=True) if kind == "synthetic"} & proof.kept
    assert len(kept) == len(proof.kept) == (proof.findings[0].made if verdict == "helps" else 0)
    assert len(report.lines) == 6
    assert draw_proof(proof).startswith(b"\x89PNG")
