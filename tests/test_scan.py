"""One look at an image gives the statistics that checks and drift rest on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components.data.images import BadImage
from components.data.scan import scan_image, statistics
from components.data.scan_benchmark import benchmark_scan
from components.data.tables import MANIFEST, STATISTICS
from components.params import load_params
from tests.drawing import draw, encode

PARAMS = load_params(Path(__file__).parent.parent / "params.yaml").ingest


def statistics_of(image: Image.Image) -> dict[str, float]:
    return statistics(np.asarray(image.convert("RGB")), n_bytes=1000)


def grey(level: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def bits_apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_a_scan_fills_every_column_that_the_bytes_determine() -> None:
    told_elsewhere = {"shard", "row", "source_path", "source_split", "origin"}
    scan = scan_image(encode(draw("circle", 1)), PARAMS)
    assert set(vars(scan)) == set(MANIFEST.names) - told_elsewhere
    assert len(scan.thumbnail) == 256
    assert 0 <= scan.phash < 2**64


def test_identity_is_the_sha256_of_the_file() -> None:
    data = encode(draw("circle", 1))
    assert scan_image(data, PARAMS).image_id == hashlib.sha256(data).hexdigest()


def test_a_refused_image_is_not_measured() -> None:
    with pytest.raises(BadImage, match="not_image"):
        scan_image(b"no image", PARAMS)


def test_scan_and_serving_measure_the_same() -> None:
    """Drift compares what serving measured with what ingest measured."""
    image = draw("cross", 5, 300)
    data = encode(image)
    scanned = vars(scan_image(data, PARAMS))
    assert statistics(np.asarray(image), len(data)) == {name: scanned[name] for name in STATISTICS}


def test_statistics_have_their_names_and_order() -> None:
    assert set(statistics_of(draw("circle", 1))) == set(STATISTICS)


def test_brightness_and_contrast_are_shares_of_the_full_range() -> None:
    assert statistics_of(grey(51))["brightness"] == pytest.approx(0.2)
    assert statistics_of(grey(51))["contrast"] == 0
    halves = grey(0)
    halves.paste((255, 255, 255), (0, 0, 16, 32))
    assert statistics_of(halves)["contrast"] == pytest.approx(0.5)


def test_entropy_is_in_bits() -> None:
    assert statistics_of(grey(90))["entropy"] == 0
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert statistics_of(Image.fromarray(levels))["entropy"] == pytest.approx(8)


def test_blur_lowers_sharpness() -> None:
    sharp = draw("square", 1, 224)
    values = [statistics_of(sharp.filter(ImageFilter.GaussianBlur(radius)))["sharpness"] for radius in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[3] < values[0] / 10


def test_sharpness_does_not_depend_on_the_resolution_of_the_camera() -> None:
    scene = draw("triangle", 1, 256).filter(ImageFilter.GaussianBlur(2))
    small, large = (statistics_of(scene.resize((side, side)))["sharpness"] for side in (256, 1024))
    assert large == pytest.approx(small, rel=0.2)


def test_saturation_does_not_depend_on_brightness() -> None:
    assert statistics_of(grey(90))["saturation"] == 0
    bright, dark = (Image.new("RGB", (32, 32), (level, level // 2, level // 4)) for level in (200, 100))
    assert statistics_of(bright)["saturation"] == pytest.approx(0.75)
    assert statistics_of(dark)["saturation"] == pytest.approx(0.75)


def test_colour_cast_sees_a_tint_and_not_a_balanced_picture() -> None:
    balanced = Image.new("RGB", (32, 32), (255, 0, 0))
    balanced.paste((0, 255, 255), (0, 0, 16, 32))
    assert statistics_of(balanced)["colour_cast"] == 0
    assert statistics_of(Image.new("RGB", (32, 32), (151, 100, 100)))["colour_cast"] == pytest.approx(0.2)


def test_shape_and_bytes_are_those_of_the_file_not_of_the_reduced_picture() -> None:
    found = statistics_of(grey(9, (800, 400)))
    assert found["aspect_ratio"] == 2
    assert found["bytes_per_pixel"] == 1000 / (800 * 400)


def test_a_picture_turned_by_exif_is_measured_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scan = scan_image(encode(grey(9, (40, 20)), "JPEG", exif=exif), PARAMS)
    assert (scan.width, scan.height, scan.orientation) == (20, 40, 6)


def test_dark_and_bright_are_percentiles() -> None:
    night = grey(20, (100, 100))
    night.paste((255, 255, 255), (0, 0, 100, 2))  # 2% of the pixels
    assert scan_image(encode(night), PARAMS).dark == 1
    night.paste((20, 20, 20), (0, 1, 100, 2))  # 1% is left
    assert scan_image(encode(night), PARAMS).dark == pytest.approx(20 / 255)
    assert scan_image(encode(grey(250)), PARAMS).bright == pytest.approx(250 / 255)


def test_the_smallest_allowed_and_the_longest_picture_can_be_measured() -> None:
    for size in ((8, 8), (8, 4000), (4000, 8)):
        assert scan_image(encode(grey(128, size)), PARAMS).brightness == pytest.approx(128 / 255)


@pytest.mark.parametrize("change", ["jpeg", "size", "brightness"])
def test_a_copy_keeps_its_perceptual_hash(change: str) -> None:
    image = draw("cross", 3, 128).filter(ImageFilter.GaussianBlur(1))
    copies = {
        "jpeg": encode(image, "JPEG", quality=70),
        "size": encode(image.resize((90, 90))),
        "brightness": encode(image.point(lambda level: level * 0.9)),
    }
    original, copy = scan_image(encode(image), PARAMS), scan_image(copies[change], PARAMS)
    assert bits_apart(original.phash, copy.phash) <= 4


def test_another_picture_has_another_perceptual_hash() -> None:
    hashes = [scan_image(encode(draw(shape, 1, 128)), PARAMS).phash for shape in ("circle", "cross", "square")]
    assert min(bits_apart(one, other) for one in hashes for other in hashes if one != other) > 8


def test_blank_pictures_share_a_hash() -> None:
    """Rounding errors of the transform must not look like content."""
    assert len({scan_image(encode(grey(level)), PARAMS).phash for level in (1, 77, 128, 254)}) == 1


def test_the_thumbnail_is_the_picture_in_16_by_16() -> None:
    image = grey(0, (64, 64))
    image.paste((255, 255, 255), (32, 0, 64, 64))
    thumbnail = np.frombuffer(scan_image(encode(image), PARAMS).thumbnail, np.uint8).reshape(16, 16)
    assert (thumbnail[:, :8] == 0).all()
    assert (thumbnail[:, 8:] == 255).all()


def test_the_benchmark_tells_images_per_cpu_second() -> None:
    ours = benchmark_scan(PARAMS, images=3, rounds=1)[0]
    assert ours["tool"] == "visionloop"
    assert float(str(ours["images_per_cpu_s"])) > 10
