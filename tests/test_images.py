"""One decoder: every mode an image file can have comes out right, and every bad file is refused with a code."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.data.images import BadImage, fit_square, to_rgb8
from components.params import IngestParams, load_params
from tests.drawing import draw, encode

PARAMS = load_params(Path(__file__).parent.parent / "params.yaml").ingest
ONLY_PNG = IngestParams(formats=("PNG",), max_pixels=10_000, min_side=8, shard_mb=1, max_bad_share=0.5)


def rgb_of(data: bytes) -> np.ndarray:
    return to_rgb8(data, PARAMS).rgb


def refusal(data: bytes, params: IngestParams = PARAMS) -> BadImage:
    with pytest.raises(BadImage) as caught:
        to_rgb8(data, params)
    return caught.value


def black_png(width: int, height: int) -> bytes:
    """A PNG of 1 bit a pixel, written without ever holding its pixels."""
    rows = zlib.compressobj(9)
    line = b"\0" * (1 + (width + 7) // 8)
    pixels = b"".join([rows.compress(line) for _ in range(height)]) + rows.flush()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_each_allowed_format_is_decoded_and_named(image_format: str) -> None:
    image = draw("circle", 1, 48)
    decoded = to_rgb8(encode(image, image_format), PARAMS)
    assert (decoded.format, decoded.rgb.shape, decoded.rgb.dtype) == (image_format, (48, 48, 3), np.uint8)
    assert np.abs(decoded.rgb.astype(int) - np.asarray(image)).mean() < 25  # JPEG, WEBP and GIF lose a little


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 16).reshape(16, 256).astype(np.uint16)
    decoded = to_rgb8(encode(Image.fromarray(ramp)), PARAMS)
    assert decoded.mode == "I;16"
    assert (decoded.rgb[..., 0] == ramp >> 8).all()


def test_floats_from_0_to_1_are_scaled_and_others_refused() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert rgb_of(encode(Image.fromarray(ramp), "TIFF"))[..., 0].ravel().tolist() == list(range(256))
    assert refusal(encode(Image.fromarray(ramp * 300), "TIFF")).code == "unsupported_format"
    ramp[0, 0] = np.nan
    assert refusal(encode(Image.fromarray(ramp), "TIFF")).code == "unsupported_format"


def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for image_format in ("JPEG", "TIFF"):
        decoded = to_rgb8(encode(red, image_format), PARAMS)
        assert decoded.mode == "CMYK"
        assert np.abs(decoded.rgb[8, 8].astype(int) - (255, 0, 0)).max() < 5


def test_transparent_palette_lies_on_white() -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.paste(1, (8, 0, 16, 16))
    rgb = rgb_of(encode(image, transparency=0))
    assert rgb[0, 0].tolist() == [255, 255, 255]
    assert rgb[0, 15].tolist() == [0, 0, 200]


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_hidden_colours_of_transparent_pixels_stay_hidden(mode: str, colour: tuple[int, ...]) -> None:
    assert (rgb_of(encode(Image.new(mode, (16, 16), colour))) == 255).all()


def test_half_transparent_pixels_are_half_white() -> None:
    rgb = rgb_of(encode(Image.new("RGBA", (16, 16), (0, 0, 0, 128))))
    assert np.abs(rgb.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_modes_become_rgb(mode: str) -> None:
    image = draw("square", 2).convert(mode)
    decoded = to_rgb8(encode(image), PARAMS)
    assert decoded.mode == mode
    assert (decoded.rgb == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_every_exif_orientation_comes_out_upright(orientation: int, image_format: str) -> None:
    upright = Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3))
    stored_as = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that brings upright to stored
    turned = upright.transpose(stored_as[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = to_rgb8(encode(turned, image_format, exif=exif), PARAMS)
    assert decoded.orientation == orientation
    assert (decoded.rgb == np.asarray(upright)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so once; the picture is whole
def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = encode(draw("circle", 1), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert to_rgb8(data, PARAMS).orientation == 1


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(image_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    rgb = rgb_of(encode(frames[0], image_format, save_all=True, append_images=frames[1:]))
    assert np.abs(rgb[0, 0].astype(int) - (255, 0, 0)).max() < 5


def test_a_wrong_file_name_does_not_matter_and_content_does() -> None:
    assert to_rgb8(encode(draw("circle", 1), "PNG"), ONLY_PNG).format == "PNG"
    assert refusal(encode(draw("circle", 1), "JPEG"), ONLY_PNG).detail == "JPEG; expected PNG"


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = black_png(20_000, 20_000)
    assert len(bomb) < 60_000
    assert refusal(bomb).code == "too_many_pixels"
    only_header = black_png(8_000, 8_000)[:100]  # over our cap, under Pillow's; decoding would find it truncated
    assert refusal(only_header).code == "too_many_pixels"


def test_the_pixel_cap_is_that_of_the_params() -> None:
    assert rgb_of(encode(Image.new("L", (101, 100)))).shape == (100, 101, 3)
    assert refusal(encode(Image.new("L", (101, 100))), ONLY_PNG).code == "too_many_pixels"


def test_a_side_under_the_minimum_is_refused() -> None:
    assert refusal(encode(Image.new("L", (100, 7)))).code == "too_small"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\xff", "not_image"),
        (b"a text, whatever its name says", "not_image"),
        (b"<html><img src=x onerror=alert(1)></html>", "not_image"),
        (b"\0" * 1000, "not_image"),
        (b"PK\x03\x04" + b"\0" * 100, "not_image"),
        (b"%PDF-1.7 ...", "unsupported_format"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 20, "unsupported_format"),
        (b"8BPS\0\x01" + b"\0" * 40, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "corrupt"),
    ],
)
def test_what_is_no_image_is_refused_with_a_code(data: bytes, code: str) -> None:
    assert refusal(data).code == code


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_cut_file_is_refused(image_format: str, share: float) -> None:
    whole = encode(draw("cross", 3, 64), image_format)
    assert refusal(whole[: int(len(whole) * share)]).code in {"truncated", "corrupt"}


def test_a_truncated_jpeg_is_called_so() -> None:
    whole = encode(draw("cross", 3, 64), "JPEG")
    for cut in (1, 10, len(whole) // 2):
        assert refusal(whole[:-cut]).code == "truncated"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_bytes_are_refused_or_decoded_and_nothing_else(image_format: str, data: st.DataObject) -> None:
    """Decoders raise a dozen kinds of exception; callers see BadImage alone."""
    damaged = bytearray(encode(draw("triangle", 4), image_format))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadImage):
        assert to_rgb8(bytes(damaged), PARAMS).rgb.dtype == np.uint8


def test_fit_stretch_keeps_the_whole_picture() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20] = (255, 0, 0)
    square = fit_square(wide, 30, "stretch")
    assert square.shape == (3, 30, 30)
    assert square[0, 15, 3] == 255
    assert square[0, 15, 26] == 0


def test_fit_crop_keeps_the_middle_square() -> None:
    tall = np.zeros((60, 20, 3), np.uint8)
    tall[20:40] = 255
    assert (fit_square(tall, 20, "crop") == 255).all()


def test_fit_is_antialiased() -> None:
    """Shrinking a fine chequerboard gives grey, not whichever pixels were hit."""
    board = np.indices((128, 128)).sum(0) % 2 * 255
    square = fit_square(np.repeat(board[..., None], 3, 2).astype(np.uint8), 16, "stretch")
    assert np.abs(square.astype(int) - 127).max() < 8


def test_a_picture_of_the_right_size_is_not_changed() -> None:
    rgb = np.asarray(draw("circle", 1, 32))
    assert (fit_square(rgb, 32, "stretch").transpose(1, 2, 0) == rgb).all()


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg() -> None:
    """Phones write MPO: JPEG with a depth map or a second view attached."""
    buffer = io.BytesIO()
    draw("circle", 1).save(buffer, "MPO", save_all=True, append_images=[draw("circle", 2)])
    assert to_rgb8(buffer.getvalue(), PARAMS).format == "JPEG"
