"""Segmentation: class maps from labels and logits, metrics worked out by hand, and pixels that nobody judges."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from components.data.annotations import (
    BACKGROUND,
    Annotation,
    Box,
    LabelError,
    Thing,
    areas_in,
    areas_text,
    mask_of,
    run_lengths,
)
from components.data.dataset import ImageSet
from components.data.images import fit_square
from components.tasks import USUAL, TaskError, classes_of
from components.tasks.areas import IGNORED, class_map, in_square
from components.tasks.class_maps import answers, costs_of, enlarged, tables_of
from components.tasks.segmentation import Segmentation

TASK = Segmentation()
CLASSES = ("car", "road", "sky")
PLACE = {name: place for place, name in enumerate(CLASSES)}
ALL = ("miou", "dice", "pixel_accuracy", "mean_class_accuracy", "loss")
SKY_OVER_ROAD = np.repeat([[2], [2], [1], [1]], 4, axis=1).astype(np.uint8)


def label_of(found: np.ndarray, names: tuple[str, ...] = CLASSES) -> str:
    """The text for a class map (height, width)."""
    masks = {name: found == place for place, name in enumerate(names)}
    return areas_text({name: run_lengths(mask) for name, mask in masks.items() if mask.any()}, found.shape[::-1])


def sure_of(maps: np.ndarray, classes: int = 3, height: float = 6.0) -> np.ndarray:
    """(N, C, s, s): logits of a net that answers `maps` (N, s, s)."""
    return ((maps[:, None] == np.arange(classes)[:, None, None]) * height).astype(np.float32)


def images_of(maps: list[np.ndarray], side: int = 4, fit: str = "stretch") -> ImageSet:
    n = len(maps)
    pixels = np.random.default_rng(0).integers(0, 255, (n, 3, side, side), dtype=np.uint8)
    sizes = [each.shape[::-1] for each in maps]
    return ImageSet(
        [f"image{row}" for row in range(n)], [label_of(each) for each in maps], ["test"] * n, pixels, sizes, fit
    )


def many(images: int = 12, side: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits at a quarter of the side that are often right, and targets with unjudged pixels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, (images, side // 4, side // 4)).astype(np.uint8)
    targets = coarse.repeat(4, axis=1).repeat(4, axis=2)
    targets[random.random(targets.shape) < 0.1] = IGNORED
    return sure_of(coarse, height=2.0) + random.normal(size=(images, 3, side // 4, side // 4)).astype(
        np.float32
    ), targets


def test_the_label_of_areas_is_their_text():
    said = Annotation(areas={"sky": run_lengths(SKY_OVER_ROAD == 2)}, size=(4, 4))
    assert TASK.label_of(said) == areas_text({"sky": run_lengths(SKY_OVER_ROAD == 2)}, (4, 4))
    assert TASK.shown(TASK.label_of(said)) == ("sky",)


def test_outlined_objects_become_areas_on_a_background_with_the_small_ones_in_front():
    large, small = np.zeros((2, 6, 8), dtype=bool)
    large[1:5, 1:6], small[2:4, 2:4] = True, True
    things = tuple(
        Thing(name, Box(0, 0, 8, 6), run_lengths(mask))
        for name, mask in (("plate", small), ("car", large), ("car", small))
    )
    label = TASK.label_of(Annotation(things=things[:2], size=(8, 6)))
    assert TASK.check(label, (8, 6)) == label
    assert TASK.shown(label) == (BACKGROUND, "car", "plate")
    found = class_map(label, {BACKGROUND: 0, "car": 1, "plate": 2})
    assert (found == np.where(small, 2, np.where(large, 1, 0))).all()


def test_a_picture_without_objects_is_all_background():
    found = class_map(TASK.label_of(Annotation(things=(), size=(3, 2))), {BACKGROUND: 7})
    assert found.tolist() == [[7, 7, 7], [7, 7, 7]]


@pytest.mark.parametrize("said", [Annotation(), Annotation(labels=("car",), size=(4, 4)), Annotation(areas={})])
def test_a_source_without_areas_is_refused(said):
    with pytest.raises(LabelError, match="expected a mask or polygons"):
        TASK.label_of(said)


def test_an_object_without_an_outline_is_refused():
    with pytest.raises(LabelError, match="box without an outline"):
        TASK.label_of(Annotation(things=(Thing("car", Box(0, 0, 2, 2)),), size=(4, 4)))


def test_a_mask_of_another_size_than_its_image_is_refused():
    with pytest.raises(LabelError, match=r"4 x 4 px, the image has 6 x 4 px"):
        TASK.check(label_of(SKY_OVER_ROAD), (6, 4))


def test_areas_that_overlap_are_refused_and_counted():
    both = areas_text({"sky": run_lengths(SKY_OVER_ROAD == 2), "car": run_lengths(SKY_OVER_ROAD > 0)}, (4, 4))
    with pytest.raises(LabelError, match=r"8 pixel\(s\) lie in several areas"):
        TASK.check(both, (4, 4))


def test_empty_areas_are_left_out_and_a_label_without_any_pixel_is_refused():
    nothing = run_lengths(np.zeros((4, 4), dtype=bool))
    areas, size = areas_in(label_of(SKY_OVER_ROAD))
    assert TASK.check(areas_text(areas | {"car": nothing}, size), size) == label_of(SKY_OVER_ROAD)
    with pytest.raises(LabelError, match="no pixel has a class"):
        TASK.check(areas_text({"car": nothing}, size), size)


@pytest.mark.parametrize("text", ["", "sky", "[]", '{"areas": {}}'])
def test_a_label_that_is_no_text_of_areas_is_refused(text):
    with pytest.raises(LabelError, match="bad_label"):
        TASK.check(text, (4, 4))


def test_targets_are_places_in_the_classes_and_255_where_nothing_is_said():
    found = SKY_OVER_ROAD.copy()
    found[0, 0] = IGNORED
    targets = TASK.targets(images_of([found, np.zeros((4, 4), np.uint8)]), CLASSES)
    assert targets.dtype == np.uint8
    assert targets[0].tolist() == found.tolist()
    assert TASK.counts(targets, 3).tolist() == [1, 1, 1]
    assert TASK.counts(targets, 4).tolist() == [1, 1, 1, 0]
    assert TASK.counts(targets[:0], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("size", [(40, 30), (30, 44), (16, 16), (64, 16)])
def test_targets_lie_in_the_same_square_as_the_pixels_of_their_image(fit, size):
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    found = ((columns > 0.4 * width) ^ (rows > 0.3 * height)).astype(np.uint8)
    square = fit_square(np.repeat(found[..., None] * 255, 3, axis=2), 16, fit)[0] > 127
    targets = TASK.targets(images_of([found], side=16, fit=fit), CLASSES)[0]
    assert (targets == square).mean() > 0.85  # all but pixels on an edge
    assert (in_square(np.fliplr(found), 16, fit) == square).mean() < 0.85  # of which there are few


def test_a_class_that_the_model_does_not_know_is_named_with_its_image():
    with pytest.raises(TaskError, match=r"image1 shows 'sky'"):
        TASK.targets(images_of([SKY_OVER_ROAD * 0, SKY_OVER_ROAD]), CLASSES[:2])


def test_more_classes_than_a_map_can_hold_are_refused():
    with pytest.raises(TaskError, match=r"256 classes.* at most 255"):
        TASK.targets(images_of([SKY_OVER_ROAD]), [str(place) for place in range(256)])


def test_classes_are_those_of_all_labels_sorted():
    assert classes_of(TASK, images_of([SKY_OVER_ROAD, SKY_OVER_ROAD * 0]).labels) == CLASSES


@pytest.mark.parametrize(("small", "large"), [(4, 16), (5, 8), (7, 7), (1, 5)])
def test_logits_are_enlarged_as_torch_does(small, large):
    import torch

    logits = np.random.default_rng(0).normal(size=(3, small, small)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=(large, large), mode="bilinear")[0]
    assert enlarged(logits, large) == pytest.approx(expected.numpy(), abs=1e-5)
    assert (answers(logits) == logits.argmax(axis=0)).all()


def test_of_equal_logits_the_first_class_is_answered():
    assert answers(np.zeros((3, 2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_tables_have_truth_in_rows_and_leave_out_what_is_not_judged():
    truth = SKY_OVER_ROAD.copy()
    truth[0] = IGNORED
    [table] = tables_of(sure_of(SKY_OVER_ROAD[None] * 0 + 1), truth[None])
    assert table.tolist() == [[0, 0, 0], [0, 8, 0], [0, 4, 0]]


def test_metrics_are_those_worked_out_by_hand():
    answered = np.full((1, 4, 4), 1, np.uint8)
    answered[0, 0] = 2  # a row of sky is right; the other is taken for road
    found = TASK.metrics(sure_of(answered), SKY_OVER_ROAD[None], CLASSES, USUAL)
    assert found["pixel_accuracy"] == 12 / 16
    assert found["miou"] == pytest.approx((4 / 8 + 8 / 12) / 2)
    assert found["dice"] == pytest.approx((8 / 12 + 16 / 20) / 2)
    assert found["mean_class_accuracy"] == pytest.approx((0.5 + 1) / 2)
    right, wrong = -np.log(np.exp(6) / (np.exp(6) + 2)), -np.log(1 / (np.exp(6) + 2))
    assert found["loss"] == pytest.approx((12 * right + 4 * wrong) / 16, rel=1e-5)


def test_the_loss_is_what_the_net_is_trained_by():
    import torch

    outputs, targets = many()
    params = SimpleNamespace(loss="auto", gamma=2.0, label_smoothing=0.0)
    # Both are means over pixels, of equal images.
    expected = TASK.loss(torch.from_numpy(outputs), torch.from_numpy(targets), None, params).item()
    assert TASK.metrics(outputs, targets, CLASSES, USUAL)["loss"] == pytest.approx(expected, rel=1e-5)


def test_per_class_counts_images_and_pixels_and_gives_zero_for_a_class_without_any():
    targets = np.stack([SKY_OVER_ROAD, np.full((4, 4), 1, np.uint8)])
    car, road, sky = TASK.per_class(sure_of(np.ones_like(targets)), targets, CLASSES)
    assert car == {"class": "car", "images": 0, "pixels": 0, "iou": 0, "dice": 0, "precision": 0, "recall": 0}
    assert (road["images"], road["pixels"], road["iou"], road["recall"]) == (2, 24, 24 / 32, 1)
    assert (sky["images"], sky["pixels"], sky[TASK.class_metric]) == (1, 8, 0)


def test_a_score_is_the_mean_iou_of_the_classes_that_the_image_shows():
    answered = SKY_OVER_ROAD.copy()
    answered[0, 0] = 0  # a stray car
    outputs = sure_of(np.stack([SKY_OVER_ROAD, answered]))
    targets = np.stack([SKY_OVER_ROAD] * 2)
    assert TASK.scores(outputs, targets, CLASSES).tolist() == pytest.approx([1, (7 / 8 + 1) / 2])
    classwise = TASK.class_scores(outputs, targets, CLASSES)
    assert np.isnan(classwise[:, 0]).all()  # no image shows a car, whatever is answered
    assert classwise[:, 1:].tolist() == [[1, 1], [1, 7 / 8]]


def test_an_image_of_which_no_pixel_is_judged_counts_for_no_model():
    targets = np.full((1, 4, 4), IGNORED, np.uint8)
    assert TASK.scores(sure_of(targets), targets, CLASSES).tolist() == [1]
    assert TASK.metrics(sure_of(targets), targets, CLASSES, USUAL) == dict.fromkeys(ALL, 0.0)


@pytest.mark.parametrize("metric", ALL)
def test_every_metric_can_be_measured_on_a_resample(metric):
    outputs, targets = many()
    at = np.random.default_rng(1).integers(0, 12, 12)
    measured = TASK.measure(metric, outputs, targets, CLASSES, USUAL)
    assert measured(at) == pytest.approx(TASK.metrics(outputs[at], targets[at], CLASSES, USUAL)[metric])
    assert 0 < measured(at) != measured(np.arange(12))


def test_two_thousand_resamples_of_a_thousand_images_take_seconds():
    outputs, targets = many(1000)
    measured = TASK.measure("miou", outputs, targets, CLASSES, USUAL)
    began = time.process_time()
    for seed in range(200):
        measured(np.random.default_rng(seed).integers(0, 1000, 1000))
    assert time.process_time() - began < 0.5


def test_a_prediction_has_a_map_and_the_shares_of_its_area():
    [found] = TASK.decode(sure_of(SKY_OVER_ROAD[None], height=20.0), CLASSES)
    assert found.classes_of_pixels.shape == (16, 16)
    assert found.classes_of_pixels.dtype == np.uint8
    assert (found.classes_of_pixels == SKY_OVER_ROAD.repeat(4, 0).repeat(4, 1)).all()
    assert found.probabilities == {"car": 0, "road": 0.5, "sky": 0.5}
    assert found.confidence == pytest.approx(1)
    assert found.margin == pytest.approx(1)
    assert {name: found.signals[name] for name in TASK.signals} == {
        "classes_shown": 2,
        "borders": pytest.approx(1 / 30),
    }


def test_an_unsure_prediction_says_so_and_is_labelled_by_its_largest_area():
    mostly_sky = np.full((1, 4, 4), 2, np.uint8)
    mostly_sky[0, 0, 0] = 0
    [unsure] = TASK.decode(sure_of(mostly_sky, height=0.1), CLASSES)
    assert unsure.label == "sky"
    assert unsure.confidence < 0.4
    assert unsure.margin == pytest.approx((np.exp(0.1) - 1) / (np.exp(0.1) + 2), rel=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (40, 30), (30, 44)])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_an_answer_written_as_a_label_gives_the_same_targets_again(size, fit):
    truth = np.random.default_rng(0).integers(0, 3, (1, 4, 4)).astype(np.uint8)
    [found] = TASK.decode(sure_of(truth), CLASSES)
    label = TASK.answered(found, size, fit)
    whole = class_map(label, PLACE)
    assert whole.shape == size[::-1]
    assert (in_square(whole, 16, fit) == found.classes_of_pixels).all()
    outside = (max(size) - min(size)) * min(size) if fit == "crop" else 0
    assert (whole == IGNORED).sum() == outside
    assert TASK.check(label, size) == label


def test_agreement_is_the_share_of_pixels_answered_alike():
    one = sure_of(np.stack([SKY_OVER_ROAD] * 2))
    other = sure_of(np.stack([SKY_OVER_ROAD, np.full((4, 4), 1, np.uint8)]), height=1.0)
    assert TASK.agreement(one, other, CLASSES).tolist() == [1, 0.5]


def test_a_class_that_the_model_does_not_know_is_never_answered_and_always_missed():
    wide = TASK.widen(sure_of(SKY_OVER_ROAD[None] - 1, classes=2), ("road", "sky"), CLASSES)
    targets = SKY_OVER_ROAD[None].copy()
    targets[0, 3] = 0
    found = TASK.metrics(wide, targets, CLASSES, USUAL)
    assert found["pixel_accuracy"] == 12 / 16
    assert np.isfinite(found["loss"])
    assert TASK.class_scores(wide, targets, CLASSES)[0, 0] == 0


@pytest.mark.parametrize("loss", ["auto", "cross_entropy", "focal", "dice", "iou", "dice_cross_entropy"])
def test_every_loss_falls_towards_the_right_answer(loss):
    import torch

    params = SimpleNamespace(loss=loss, gamma=2.0, label_smoothing=0.0)
    outputs = torch.zeros(1, 3, 4, 4, requires_grad=True)
    cost = TASK.loss(outputs, torch.from_numpy(SKY_OVER_ROAD[None]), None, params)
    [slope] = torch.autograd.grad(cost, outputs)
    assert (slope[0].numpy().argmin(axis=0) == SKY_OVER_ROAD).all()


def test_a_loss_of_another_task_is_refused_with_the_ones_that_fit():
    import torch

    with pytest.raises(TaskError, match=r"asymmetric.*auto, cross_entropy, focal, dice, iou, dice_cross_entropy"):
        TASK.loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), None, SimpleNamespace(loss="asymmetric"))


def test_the_baseline_answers_what_is_usually_seen_at_each_place():
    train = images_of([SKY_OVER_ROAD, SKY_OVER_ROAD, SKY_OVER_ROAD * 0])
    answer = TASK.baselines(train, images_of([SKY_OVER_ROAD] * 5), CLASSES)["usual_map"]
    assert answer.shape == (5, 3, 4, 4)
    assert (answers(answer[4]) == SKY_OVER_ROAD).all()


def test_pictures_show_the_best_the_worst_and_some_images_beside_their_truth():
    outputs, targets = many(4)
    images = images_of(list(targets), side=16)
    found = TASK.pictures(images, outputs, targets, CLASSES, 2)
    assert set(found) == {"confusion", "best_images", "worst_images", "random_images"}
    assert all(png.startswith(b"\x89PNG") for png in found.values())
    assert found["best_images"] != found["worst_images"]
    assert TASK.pictures(images, outputs, targets, CLASSES, 0)["best_images"].startswith(b"\x89PNG")


def test_a_tuned_task_is_the_same_since_the_surest_class_is_answered():
    outputs, targets = many(2)
    assert TASK.tuned(outputs, targets, CLASSES) == TASK


@pytest.mark.parametrize("broken", [np.zeros((1, 2, 4, 4)), np.zeros((1, 3, 4)), np.full((1, 3, 4, 4), np.nan)])
def test_outputs_that_do_not_fit_are_refused(broken):
    with pytest.raises(TaskError, match=r"expected|not finite"):
        TASK.metrics(broken.astype(np.float32), SKY_OVER_ROAD[None], CLASSES, USUAL)


def test_costs_of_sure_mistakes_are_finite():
    assert costs_of(sure_of(SKY_OVER_ROAD[None], height=1e9), SKY_OVER_ROAD[None] * 0) == pytest.approx(
        16 * 27.63, rel=1e-3
    )
    assert mask_of(areas_in(label_of(SKY_OVER_ROAD))[0]["sky"], (4, 4)).sum() == 8
