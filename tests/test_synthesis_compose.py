"""Made images: boxes and masks to the pixel, planes, colours, blending, and the same bytes for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.data.annotations import areas_in, mask_of, things_in
from components.synthesis.arrange import arranged
from components.synthesis.batch import make_image
from components.synthesis.blending import poisson
from components.synthesis.colour import follow, from_lab, sharpness, soften, to_lab
from components.synthesis.compose import compose, said_of, visible
from components.synthesis.layers import layer_of
from components.synthesis.plane import Plane, corners
from components.tasks import task_named
from tests.cutting import COLOURS, PLAIN, cutout_of, grey, noise, stock

SHAPES = [cutout_of(shape) for shape in COLOURS]


def at(x: float, y: float, longest: float = 40, degrees: float = 0):
    return Plane("none", 160, 120, 0).placed((40, 40), (x, y), longest, degrees)


@pytest.mark.parametrize("plane", ["none", "standing", "lying"])
def test_a_pixel_is_in_the_mask_of_an_object_just_where_its_colour_shows(plane):
    params = replace(PLAIN, rotate=30, plane=plane)
    for number in range(12):
        composite = make_image(stock(SHAPES, [grey()]), number, params).composite
        picture = composite.picture.astype(int)
        colours = np.array([*COLOURS.values(), (90, 90, 90)])
        nearest = np.abs(picture[..., None, :] - colours).sum(axis=-1).argmin(axis=-1)
        for place, shape in enumerate(COLOURS):
            mask = np.any([each.mask for each in composite.objects if each.cutout.label == shape] or [False], axis=0)
            differ = mask ^ (nearest == place)
            pure = np.abs(picture - colours[place]).sum(axis=-1) < 12
            assert (mask | ~pure).all()  # never outside of the mask is it the object's own colour
            assert differ.sum() <= 0.12 * max(mask.sum(), 20)  # but where two colours mix along an edge


def test_without_turning_boxes_and_masks_are_exact_to_the_pixel():
    cutout = cutout_of("circle")
    layer = layer_of(cutout, at(60, 50), grey(), PLAIN)
    composite = compose(grey(), [layer], PLAIN, 0.0)
    expected = np.zeros((120, 160), dtype=bool)
    expected[30:70, 40:80] = cutout.rgba[..., 3] == 255
    assert np.array_equal(composite.objects[0].mask, expected)
    assert composite.objects[0].box == (42, 32, 78, 68)
    assert (composite.picture[expected] == COLOURS["circle"]).all()
    assert (composite.picture[~expected] == 90).all()


def test_masks_of_objects_never_overlap_and_the_nearer_one_keeps_its_own():
    far, near = (layer_of(cutout_of(shape), at(x, 60), grey(), PLAIN) for shape, x in (("square", 60), ("circle", 80)))
    composite = compose(grey(), [far, near], PLAIN, 0.0)
    square, circle = (each.mask for each in composite.objects)
    assert not (square & circle).any()
    assert np.array_equal(circle, near.solid((120, 160)))
    assert np.array_equal(square, far.solid((120, 160)) & ~near.solid((120, 160)))
    assert (composite.picture[square] == COLOURS["square"]).all()


def test_an_object_of_which_under_a_quarter_shows_is_in_neither_picture_nor_labels():
    hidden, front = (layer_of(cutout_of("square"), at(x, 60), grey(), PLAIN) for x in (60, 66))
    assert [layer for layer, _ in visible([hidden, front], (120, 160))] == [front]
    outside = layer_of(cutout_of("square"), at(-12, 60), grey(), PLAIN)
    assert outside is not None
    assert compose(grey(), [outside], PLAIN, 0.0).objects == ()
    assert (compose(grey(), [outside], PLAIN, 0.0).picture == 90).all()
    assert layer_of(cutout_of("square"), at(-40, 60), grey(), PLAIN) is None


def test_what_is_left_out_hides_nothing():
    back, middle, front = (layer_of(cutout_of("square"), at(x, 60), grey(), PLAIN) for x in (46, 60, 64))
    kept = visible([back, middle, front], (120, 160))
    assert [layer for layer, _ in kept] == [back, front]
    assert kept[0][1].sum() == (back.solid((120, 160)) & ~front.solid((120, 160))).sum()


@pytest.mark.parametrize("kind", ["standing", "lying"])
def test_on_a_plane_lower_objects_are_larger_in_proportion_to_their_distance_from_the_horizon(kind):
    plane = Plane(kind, 160, 120, 20)
    widths = []
    for row in (45, 70, 120):
        found = corners(plane.placed((40, 40), (80, row), 30 * plane.scale(row), 0), (40, 40))
        middle = (found[0] + found[1] + found[2] + found[3]) / 4
        widths.append(np.ptp(found[:, 0]))
        assert middle[0] == pytest.approx(80, abs=1e-6)
    assert widths[0] < widths[1] < widths[2]
    if kind == "standing":
        assert widths == pytest.approx([7.5, 15, 30])


def test_what_lies_on_a_plane_is_wider_at_its_near_edge_and_foreshortened():
    plane = Plane("lying", 160, 120, 20)
    far_left, far_right, near_right, near_left = corners(plane.placed((40, 40), (80, 90), 40, 0), (40, 40))
    assert near_right[0] - near_left[0] > far_right[0] - far_left[0]
    assert near_left[1] > far_left[1]
    assert near_left[1] - far_left[1] < 40


def test_nearer_objects_cover_farther_ones_on_a_plane():
    params = replace(PLAIN, plane="standing", objects=(4, 4), size=(0.6, 0.6))
    for number in range(5):
        layers = arranged(stock(SHAPES, [grey()]), grey(), params, np.random.default_rng(number))
        feet = [layer.top + layer.alpha.shape[0] for layer in layers]
        assert feet == sorted(feet) or max(feet) >= 120  # cut off by the frame


def test_colours_go_to_lab_and_back():
    rgb = np.random.default_rng(0).uniform(0, 255, (50, 3)).astype(np.float32)
    assert np.allclose(from_lab(to_lab(rgb)), rgb, atol=0.05)
    assert to_lab(np.array([[255.0, 255, 255]], dtype=np.float32))[0] == pytest.approx([100, 0, 0], abs=0.02)
    assert to_lab(np.array([[255.0, 0, 0]], dtype=np.float32))[0] == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


def test_an_object_takes_on_the_colours_of_its_ground_as_far_as_asked():
    random = np.random.default_rng(1)
    rgb = random.normal(150, 20, (20, 20, 3)).astype(np.float32)
    ground = random.normal((60, 80, 120), 15, (30, 30, 3)).astype(np.float32)
    weight = np.ones((20, 20), dtype=np.float32)
    distance = [
        float(np.linalg.norm(to_lab(follow(rgb, weight, ground, s)).mean((0, 1)) - to_lab(ground).mean((0, 1))))
        for s in (0.0, 0.5, 1.0)
    ]
    assert distance[0] > 20
    assert distance[1] == pytest.approx(distance[0] / 2, rel=0.1)
    assert distance[2] < 2


def test_an_object_is_blurred_until_it_is_no_sharper_than_a_soft_ground_and_left_alone_on_a_sharp_one():
    random = np.random.default_rng(2)
    rgb, alpha = random.uniform(0, 255, (24, 24, 3)).astype(np.float32), np.zeros((24, 24), dtype=np.float32)
    alpha[4:20, 4:20] = 1
    soft = np.linspace(0, 255, 40, dtype=np.float32)[None, :, None] * np.ones((40, 40, 3), dtype=np.float32)
    before = sharpness(rgb, alpha >= 0.5)
    blurred, edge = soften(rgb, alpha, soft, 2.0)
    assert sharpness(blurred, edge >= 0.5) < 0.6 * before
    assert 0 < edge[3, 10] < 1
    noisy = random.uniform(0, 255, (40, 40, 3)).astype(np.float32)
    noisy[::2] = 255 - noisy[::2]
    smooth = soft[:24, :24]
    assert soften(smooth, alpha, noisy, 2.0)[0] is smooth


def test_poisson_keeps_the_steps_inside_and_takes_the_ground_at_the_rim():
    ground = np.tile(np.linspace(50, 90, 40, dtype=np.float32)[:, None, None], (1, 40, 3))
    texture = 20 * np.sin(np.arange(40) / 2).astype(np.float32)
    rgb = np.full((40, 40, 3), 200, dtype=np.float32) + texture[None, :, None]
    alpha = np.zeros((40, 40), dtype=np.float32)
    alpha[8:32, 8:32] = 1
    found = poisson(ground, rgb, alpha)
    assert np.abs(found[[0, -1]] - ground[[0, -1]]).max() < 1e-3
    assert np.abs(found[20, 8] - ground[20, 8]).max() < 25  # no longer 200
    inner = (np.diff(found[20, 12:28, 0]), np.diff(rgb[20, 12:28, 0]))
    assert np.corrcoef(*inner)[0, 1] > 0.98


def test_poisson_gives_an_object_no_rim_of_colours_that_were_hidden_under_its_alpha():
    rgba = np.zeros((40, 40, 4), dtype=np.uint8)  # black where it is transparent, as most programs save it
    rgba[8:32, 8:32] = (120, 120, 120, 255)
    params = replace(PLAIN, blend="poisson")
    layer = layer_of(cutout_of("square", rgba=rgba), at(60, 50, 40, 10), grey(), params)
    assert np.abs(compose(grey(), [layer], params, 0.0).picture.astype(int) - 90).max() <= 12


def test_a_shadow_darkens_the_ground_beside_an_object_and_no_label():
    layer = layer_of(cutout_of("square"), at(60, 50), grey(), PLAIN)
    plain, shaded = (compose(grey(), [layer], replace(PLAIN, shadow=s), 0.0) for s in (0.0, 0.5))
    mask = plain.objects[0].mask
    assert np.array_equal(shaded.objects[0].mask, mask)
    assert (shaded.picture[mask] == plain.picture[mask]).all()
    assert shaded.picture[~mask].min() < 80
    assert shaded.picture[~mask].max() == 90


def test_the_same_seed_makes_the_same_bytes_and_another_one_others():
    params = replace(PLAIN, plane="lying", rotate=40, flip=True, colour=0.5, blur=1.5, shadow=0.4, blend="poisson")
    kit = stock(SHAPES, [noise(1, 64), noise(2, 64)])
    one, same, other = (
        make_image(kit, 3, each).composite.picture.tobytes() for each in (params, params, replace(params, seed=8))
    )
    assert one == same != other


def test_what_is_cut_by_its_box_is_never_turned_or_slanted():
    params = replace(PLAIN, plane="lying", rotate=60, objects=(1, 1), size=(0.4, 0.4))
    rgba = np.full((30, 20, 4), 255, dtype=np.uint8)
    rgba[..., :3] = (230, 40, 40)
    for number in range(8):
        kit = stock([cutout_of("circle", rgba=rgba, by_box=True)], [grey()])
        [placed] = make_image(kit, number, params).composite.objects
        left, top, right, bottom = placed.box
        assert placed.mask.sum() >= 0.98 * (right - left) * (bottom - top)  # but for antialiased corners


@pytest.mark.parametrize(
    ("task", "single"), [("classification", True), ("multilabel", False), ("detection", False), ("segmentation", False)]
)
def test_every_task_makes_its_label_of_a_made_image(task, single):
    kit = stock(SHAPES, [grey()], single, [*COLOURS, "background"])
    for number in range(5):
        made = make_image(kit, number, PLAIN)
        judge = task_named(task)
        label = judge.check(judge.label_of(made.said), (160, 120))
        shapes = {each.cutout.label for each in made.composite.objects}
        assert set(judge.shown(label)) - {"background"} == shapes
        if task == "detection":
            boxes = sorted(tuple(thing.box) for thing in things_in(label))
            assert boxes == sorted(tuple(each.box) for each in made.composite.objects)
            for thing in things_in(label):
                assert mask_of(thing.mask, (160, 120)).any()
        if task == "segmentation":
            areas, size = areas_in(label)
            assert sum(mask_of(runs, size).sum() for runs in areas.values()) == 160 * 120


def test_areas_of_a_background_stay_where_no_object_covers_them():
    layer = layer_of(cutout_of("square"), at(60, 50), grey(), PLAIN)
    composite = compose(grey(), [layer], PLAIN, 0.0)
    road = np.zeros((120, 160), dtype=bool)
    road[60:] = True
    areas = said_of(composite, {"road": road}, ["road", "square"]).areas
    assert np.array_equal(mask_of(areas["road"], (160, 120)), road & ~composite.objects[0].mask)
    assert np.array_equal(mask_of(areas["square"], (160, 120)), composite.objects[0].mask)
