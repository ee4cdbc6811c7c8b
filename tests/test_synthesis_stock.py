"""What images are made of: cut-outs and backgrounds, from folders and from the workspace's own training images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import Box, Thing, areas_text, mask_of, run_lengths, things_text
from components.synthesis import SynthesisError
from components.synthesis.backgrounds import cleared, filled, own_backgrounds, read_backgrounds
from components.synthesis.cutouts import of_classes, read_cutouts, refuse_unknown
from components.synthesis.harvest import harvest
from components.synthesis.originals import Original
from tests.conftest import ReportInMemory
from tests.cutting import INGEST, cutout_of, grey, write_cutouts


@dataclass(frozen=True)
class Drawn(Original):
    """An original whose picture is at hand."""

    pixels: np.ndarray | None = None

    def picture(self) -> np.ndarray:
        return self.pixels


def original(pixels: np.ndarray, label: str, name: str = "0123456789abcdef") -> Original:
    return Drawn(name, label, "", 0, None, INGEST, pixels)


def pictured() -> np.ndarray:
    """160 x 120 with a red square of 30 px at (40, 30) on grey."""
    pixels = grey()
    pixels[30:60, 40:70] = (230, 40, 40)
    return pixels


def boxes(*things: Thing) -> str:
    return things_text(things, (160, 120))


SQUARE = Thing("square", Box(40, 30, 70, 60))


def test_cut_outs_are_read_by_label_and_cropped_to_their_object(tmp_path):
    found = read_cutouts(write_cutouts(tmp_path), INGEST)
    assert [(each.label, each.name) for each in found] == [
        (shape, f"{shape}/{number}.png") for shape in ("circle", "square") for number in (0, 1)
    ]
    assert found[0].rgba.shape == (26, 26, 4)
    assert (found[2].rgba[..., 3] == 255).all()
    assert not found[0].by_box


def test_a_missing_or_empty_folder_of_cut_outs_says_what_is_expected(tmp_path):
    with pytest.raises(SynthesisError, match=r"No folder of cut-outs at .*Expected DIR/<label>"):
        read_cutouts(tmp_path / "none", INGEST)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("later")
    with pytest.raises(SynthesisError, match="no folder in it has a PNG or WebP"):
        read_cutouts(tmp_path, INGEST)


@pytest.mark.parametrize(
    ("rgba", "message"),
    [
        (np.full((20, 20, 4), 255, dtype=np.uint8), r"1\.png has no transparent pixel, so the object in it has no out"),
        (np.zeros((20, 20, 4), dtype=np.uint8), r"1\.png is transparent all over"),
    ],
    ids=["no alpha", "nothing but"],
)
def test_a_cut_out_without_transparency_or_with_nothing_else_is_named(rgba, message, tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(rgba).save(tmp_path / "cat" / "1.png")
    with pytest.raises(SynthesisError, match=message):
        read_cutouts(tmp_path, INGEST)


def test_a_cut_out_in_rgb_or_one_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(grey(20, 20)).save(tmp_path / "cat" / "rgb.png")
    with pytest.raises(SynthesisError, match=r"rgb\.png has no transparent pixel"):
        read_cutouts(tmp_path, INGEST)
    (tmp_path / "cat" / "rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n not")
    with pytest.raises(SynthesisError, match=r"rgb\.png cannot be read as a picture"):
        read_cutouts(tmp_path, INGEST)


def test_a_label_without_real_images_is_refused_because_nothing_could_judge_it():
    cutouts = [cutout_of("circle"), cutout_of("square", label="zebra")]
    with pytest.raises(SynthesisError, match=r"'zebra', of which the dataset has no real image \(it knows 'circle'"):
        refuse_unknown(cutouts, ["circle", "square"])
    refuse_unknown(cutouts[:1], ["circle", "square"])


def test_only_the_classes_asked_for_are_placed_and_one_without_cut_outs_is_named():
    cutouts = [cutout_of("circle"), cutout_of("square")]
    assert of_classes(cutouts, ()) == cutouts
    assert of_classes(cutouts, ("circle",)) == cutouts[:1]
    with pytest.raises(SynthesisError, match="names 'cross', of which there is no cut-out"):
        of_classes(cutouts, ("circle", "cross"))


def test_a_box_is_cut_with_a_soft_edge_that_is_a_half_at_the_box():
    [found] = harvest([original(pictured(), boxes(SQUARE))], (), 4.0)
    assert (found.label, found.by_box, found.size) == ("square", True, 38 / 120)
    assert found.rgba.shape == (38, 38, 4)
    assert (found.rgba[8:30, 8:30] == (230, 40, 40, 255)).all()
    across = found.rgba[19, :, 3]
    assert across[1] == 0 < across[2] < across[3] < 128 <= across[4] < across[5] < across[6] == 255
    assert (found.rgba[..., 3] >= 128).sum() == 30 * 30


def test_a_mask_is_cut_exactly():
    mask = np.zeros((120, 160), dtype=bool)
    mask[30:60, 40:70] = np.tri(30, dtype=bool)
    [found] = harvest([original(pictured(), boxes(replace(SQUARE, mask=run_lengths(mask))))], (), 4.0)
    assert not found.by_box
    assert np.array_equal(found.rgba[..., 3] == 255, np.tri(30, dtype=bool))
    assert set(np.unique(found.rgba[..., 3])) == {0, 255}


def test_each_piece_of_an_area_is_an_object_but_not_ground_or_what_the_frame_cuts():
    masks = {name: np.zeros((120, 160), dtype=bool) for name in ("square", "road", "background")}
    masks["square"][30:60, 40:70] = True
    masks["square"][80:100, 100:120] = True
    masks["square"][0:20, 100:120] = True  # touches the frame
    masks["road"][101:] = True
    masks["background"] = ~(masks["square"] | masks["road"])
    label = areas_text({name: run_lengths(mask) for name, mask in masks.items()}, (160, 120))
    found = harvest([original(pictured(), label)], (), 2.0)
    assert [(each.label, each.rgba.shape[:2]) for each in found] == [("square", (30, 30)), ("square", (20, 20))]


@pytest.mark.parametrize(
    "things",
    [
        [replace(SQUARE, crowd=True)],
        [replace(SQUARE, box=Box(0, 30, 70, 60))],
        [SQUARE, Thing("circle", Box(60, 50, 90, 80))],
        [replace(SQUARE, box=Box(40, 30, 45, 60))],
    ],
    ids=["crowd", "cut by the frame", "two in one", "tiny"],
)
def test_objects_that_are_not_whole_alone_and_large_enough_are_not_cut_out(things):
    with pytest.raises(SynthesisError, match=r"Nothing can be cut out of the 1 training images.*--cutouts"):
        harvest([original(pictured(), boxes(*things))], (), 2.0)


def test_labels_that_tell_no_places_cannot_be_cut():
    for label in ("cat", '["cat","dog"]'):
        with pytest.raises(SynthesisError, match="tell no box or mask"):
            harvest([original(pictured(), label)], (), 2.0)


def test_backgrounds_come_from_a_folder_small_ones_left_out_and_large_ones_made_smaller(tmp_path):
    for name, size in (("a/large.png", (400, 200)), ("fits.jpg", (80, 60)), ("small.png", (90, 30))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(grey(*size)).save(tmp_path / name)
    report = ReportInMemory()
    found = read_backgrounds(tmp_path, 32, 100, INGEST, report)
    assert {each.name: each.open()[0].shape for each in found} == {"a/large.png": (50, 100, 3), "fits.jpg": (60, 80, 3)}
    assert report.lines == ["backgrounds: 1 of 3 are broken or under 32 px"]


def test_no_backgrounds_or_none_that_is_large_enough_is_a_clear_error(tmp_path):
    with pytest.raises(SynthesisError, match="No folder of backgrounds"):
        read_backgrounds(tmp_path / "none", 32, 100, INGEST, ReportInMemory())
    with pytest.raises(SynthesisError, match="No pictures in"):
        read_backgrounds(tmp_path, 32, 100, INGEST, ReportInMemory())
    Image.fromarray(grey(90, 30)).save(tmp_path / "small.png")
    with pytest.raises(SynthesisError, match=r"too small \(1 have a side under 32 px, which is image.size"):
        read_backgrounds(tmp_path, 32, 100, INGEST, ReportInMemory())
    with pytest.raises(SynthesisError, match="no real training image"):
        own_backgrounds([], 100)


def test_objects_are_painted_over_with_what_lies_around_them():
    found = cleared(pictured(), [SQUARE])
    assert np.abs(found.astype(int) - 90).max() <= 1
    assert np.array_equal(cleared(pictured(), []), pictured())
    everywhere = np.ones((120, 160), dtype=bool)
    assert np.array_equal(filled(pictured(), everywhere), pictured())


def test_own_images_without_objects_come_first_where_there_are_enough():
    empty = [original(grey(), "[]", f"{place:012d}") for place in range(10)]
    busy = original(pictured(), boxes(SQUARE), "busy")
    assert len(own_backgrounds([*empty, busy], 200)) == 10
    few = own_backgrounds([*empty[:9], busy], 200)
    assert len(few) == 10
    assert np.abs(few[-1].open()[0].astype(int) - 90).max() <= 1


def test_own_images_keep_their_areas_and_those_that_tell_no_places_are_unrecognisable():
    road = np.zeros((120, 160), dtype=bool)
    road[60:] = True
    label = areas_text({"road": run_lengths(road)}, (160, 120))
    picture, areas = own_backgrounds([original(pictured(), label)], 80)[0].open()
    assert picture.shape == (60, 80, 3)
    assert np.array_equal(areas["road"], mask_of(run_lengths(road), (160, 120))[::2, ::2])
    blurred, nothing = own_backgrounds([original(pictured(), "cat")], 200)[0].open()
    assert nothing is None
    assert np.ptp(blurred[..., 0]) < 0.75 * np.ptp(pictured()[..., 0])
    assert np.abs(np.diff(blurred[..., 0].astype(int), axis=1)).max() <= 12
