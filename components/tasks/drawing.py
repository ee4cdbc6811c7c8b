"""Boxes and classes of pixels drawn over images, and many images on one sheet; with Pillow alone.

In: uint8 images (3, H, W), what was found in them, in shares of the image, and the classes, whose places are their
colours. Out: uint8 images (3, H, W), and PNGs as bytes, equal for equal input. Letters that the font lacks are boxes.
"""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.tasks import Detection

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
# Okabe and Ito's, which colour-blind people can tell apart too; later classes get hues a golden angle apart.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
GOLDEN = 0.381966  # of a turn
LEFT_AS_IT_IS = 255  # in a map of classes
SMALLEST = 320  # px; a smaller image is enlarged before boxes are drawn, or names would hide it
LONGEST = 24  # letters of a name


def colour_of(place: int) -> Colour:
    """RGB of the class at `place`; the same in every picture."""
    if place < len(PALETTE):
        return PALETTE[place]
    red, green, blue = colorsys.hsv_to_rgb((place * GOLDEN) % 1, 0.65, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(
    pixels: Pixels, found: Sequence[Detection], classes: Sequence[str], true: Sequence[Detection] = ()
) -> Pixels:
    """Boxes in the colours of their classes, with name and confidence; `true` ones as a thin white frame.

    Boxes are shares of the image. Small images come back enlarged by a whole number.
    """
    from PIL import ImageDraw

    image = _enlarged(pixels)
    pen = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 300))
    for each in true:
        pen.rectangle(_corners(each, image.size), outline=(255, 255, 255), width=1)
    for each in reversed(found):  # the surest on top
        _draw(pen, each, colour_of(classes.index(each.label)), width, image.size)
    return _pixels(image)


def draw_areas(pixels: Pixels, areas: Pixels, classes: Sequence[str], strength: float = 0.5) -> Pixels:
    """The colours of classes over an image; `areas` (h, w) holds places in the classes, 255 leaves the image as it is.

    `areas` is brought to the size of the image without mixing classes.
    """
    from PIL import Image

    height, width = pixels.shape[1:]
    places = np.asarray(Image.fromarray(areas).resize((width, height), Image.Resampling.NEAREST))
    table = np.array([colour_of(place) for place in range(len(classes))], dtype=np.float32)
    colours = table[np.minimum(places, len(classes) - 1)].transpose(2, 0, 1)
    mixed = ((1 - strength) * pixels + strength * colours).round().astype(np.uint8)
    return np.where(places == LEFT_AS_IT_IS, pixels, mixed)


def sheet(pictures: Sequence[Pixels], captions: Sequence[str], columns: int = 4, side: int = 360) -> bytes:
    """A PNG of `pictures` in rows, each within `side` px, with its caption under it; an empty one says so."""
    from PIL import Image, ImageDraw

    line = 18  # px
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    page = Image.new("RGB", (columns * (side + 4), rows * (side + line + 4)), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    if not pictures:
        pen.text((side / 2, side / 2), "no images", fill=(90, 90, 90), font=_font(14), anchor="mm")
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = (number % columns) * (side + 4) + 2, (number // columns) * (side + line + 4) + 2
        image = _image(picture)
        image.thumbnail((side, side))
        page.paste(image, (left, top))
        pen.text((left, top + image.height + 2), shortened(caption, 2 * LONGEST), fill=(0, 0, 0), font=_font(12))
    return _png(page)


def png_of(pixels: Pixels) -> bytes:
    """One image (3, H, W) as a PNG."""
    return _png(_image(pixels))


def shortened(name: str, most: int = LONGEST) -> str:
    """`name` on one line, without control characters, cut to `most` letters."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def _draw(pen: ImageDraw.ImageDraw, found: Detection, colour: Colour, width: int, size: tuple[int, int]) -> None:
    box = _corners(found, size)
    pen.rectangle(box, outline=colour, width=width)
    sure = f" {found.confidence:.0%}" if found.confidence < 1 else ""  # 1 is what a person says
    text, font = f"{shortened(found.label)}{sure}", _font(max(11, max(size) // 55))
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 4, bottom - top + 4
    x = max(0.0, min(box[0], size[0] - wide))
    y = box[1] - high if box[1] >= high else box[1]
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
    pen.text((x + 2 - left, y + 2 - top), text, fill=(255, 255, 255) if dark else (0, 0, 0), font=font)


def _corners(found: Detection, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """px, within the image and in order: Pillow refuses others."""
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in found.box)
    width, height = size[0] - 1, size[1] - 1
    return (
        round(left * width),
        round(top * height),
        round(max(left, right) * width),
        round(max(top, bottom) * height),
    )


def _enlarged(pixels: Pixels) -> Image.Image:
    image = _image(pixels)
    times = math.ceil(SMALLEST / max(image.size))
    return image.resize((image.width * times, image.height * times)) if times > 1 else image


def _image(pixels: Pixels) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _pixels(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
