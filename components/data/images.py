"""Bytes of an image file -> 8-bit RGB: the one decoder of scan, training, parity checks and serving.

In: the bytes, and what `ingest` of params.yaml allows. Out: `Decoded`, or `BadImage` with a code; no other exception
leaves `to_rgb8`. Pillow's own convert() clips 16-bit and float pictures and shows the hidden colours of transparent
ones, so each mode is brought to RGB here. Colour profiles are not applied. Files are read by `ingest` and `serving`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from components.params import IngestParams

Code = Literal["empty", "not_image", "unsupported_format", "truncated", "corrupt", "too_many_pixels", "too_small"]

# First bytes of a file, to say what was found where it cannot be decoded.
SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"ftyp", "HEIC, AVIF or video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"<svg", "SVG"),
)
EXIF_ORIENTATION = 0x0112
UPRIGHT = {  # how to turn a picture upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ValueError):
    """The bytes are refused: `code` is one word for tables and APIs, `detail` says what was found."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True)
class Decoded:
    """A picture (of an animation the first), upright, in RGB, on white where transparent; and how it was stored."""

    picture: Image.Image
    format: str
    mode: str
    orientation: int  # EXIF, 1 to 8; already applied

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """(height, width, 3), read-only."""
        return np.asarray(self.picture)


def to_rgb8(data: bytes, params: IngestParams) -> Decoded:
    """Decode `data`; raise BadImage, and nothing else, when it is refused. The pixel cap is checked before decoding."""
    if not data:
        raise BadImage("empty", "the file has no bytes")
    try:
        return _decoded(data, params)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("too_many_pixels", str(error)) from None
    except UnidentifiedImageError:
        raise _unidentified(data, params) from None
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, IndexError, ...
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise BadImage("truncated" if cut else "corrupt", str(error) or type(error).__name__) from None


def fit_square(rgb: NDArray[np.uint8], size: int, fit: Literal["stretch", "crop"]) -> NDArray[np.uint8]:
    """(height, width, 3) -> (3, size, size), antialiased bilinear: all of it stretched, or its middle square."""
    box = square_of(rgb.shape[1], rgb.shape[0], fit)
    square = Image.fromarray(rgb).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def square_of(width: int, height: int, fit: Literal["stretch", "crop"]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in px, of the part of a picture that becomes the square."""
    if fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _decoded(data: bytes, params: IngestParams) -> Decoded:
    with Image.open(io.BytesIO(data), formats=params.formats) as image:
        _check_size(image, params)
        mode, orientation = image.mode, _orientation(image)
        image.load()
        upright = _rgb(image)
        if orientation in UPRIGHT and image.format != "TIFF":  # Pillow turns TIFF upright itself
            upright = upright.transpose(UPRIGHT[orientation])
        image_format = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with more behind it
        return Decoded(upright, image_format, mode, orientation)


def _check_size(image: Image.Image, params: IngestParams) -> None:
    width, height = image.size
    if width * height > params.max_pixels:
        raise BadImage("too_many_pixels", f"{width} x {height} px; at most {params.max_pixels:,} pixels are decoded")
    if min(width, height) < params.min_side:
        raise BadImage("too_small", f"{width} x {height} px; each side must have {params.min_side} or more")


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return int(found) if found in UPRIGHT else 1


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16"):
        return _from_grey(np.asarray(image).astype(np.uint16) >> 8)
    if mode in {"I", "F"}:
        return _from_grey(_scaled(np.asarray(image, np.float64), "integers" if mode == "I" else "floats"))
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    if mode == "LAB":
        raise BadImage("unsupported_format", "LAB colours; save it as RGB")
    return image.convert("RGB")


def _from_grey(values: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _scaled(values: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """32-bit pixels have no range of their own: take 16-bit integers and floats from 0 to 1, guess at nothing else."""
    top = 65535 if kind == "integers" else 1
    low, high = values.min(), values.max()
    if low >= 0 and high <= top:  # false for NaN
        return (values * (255 / top)).round()
    raise BadImage("unsupported_format", f"32-bit {kind} from {low:g} to {high:g}; expected 0 to {top}")


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _unidentified(data: bytes, params: IngestParams) -> BadImage:
    name = next((name for start, magic, name in SIGNATURES if data[start : start + len(magic)] == magic), None)
    allowed = ", ".join(params.formats)
    if name is None:
        return BadImage("not_image", f"starts with {data[:12]!r}; expected {allowed}")
    if name in params.formats:
        return BadImage("corrupt", f"starts like {name}, but its header cannot be read")
    return BadImage("unsupported_format", f"{name}; expected {allowed}")
