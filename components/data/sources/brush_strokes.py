"""Label Studio's run lengths of a brush stroke -> a mask.

In: a list of bytes as its JSON has them. Out: a mask of the picture, or a LabelError. The bytes are RGBA values packed
by thi.ng/rle-pack (K. Schmidt, https://github.com/thi-ng/umbrella): the count of values in 32 bits, the bits of a value
less one in 5, four sizes of run lengths less one in 4 each; then for each run one bit that tells whether it repeats
one value, two bits that choose the size, the length less one, and the value or values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import MOST_PIXELS, LabelError

CHANNELS = 4  # values of a pixel; the last one is opaque where the brush went


def brushed(packed: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width); raise LabelError where the bytes do not make a picture of `size` (width, height)."""
    width, height = size
    try:
        values = _values(bytes(packed), width * height * CHANNELS)
    except (TypeError, ValueError):
        raise LabelError("bad_mask", f"field rle: expected the packed mask of {width} x {height} px") from None
    return np.asarray(values.reshape(height, width, CHANNELS)[:, :, 3] > 0)


def _values(data: bytes, count: int) -> NDArray[np.uint8]:
    """(count,); raise ValueError where the data hold another number of values, or of more than 8 bits."""
    bits = _Bits(data)
    found, word = bits.take(32), bits.take(5) + 1
    lengths = [bits.take(4) + 1 for _ in range(4)]
    if found != count or word > 8 or count > MOST_PIXELS * CHANNELS:
        raise ValueError
    values, at = np.zeros(count, np.uint8), 0
    while at < count:
        repeats = bits.take(1)
        end = min(at + 1 + bits.take(lengths[bits.take(2)]), count)
        values[at:end] = bits.take(word) if repeats else [bits.take(word) for _ in range(end - at)]
        at = end
    return values


class _Bits:
    """Numbers of any size, from a text of zeros and ones."""

    def __init__(self, data: bytes) -> None:
        self.text = "".join(map("{:08b}".format, data))
        self.at = 0

    def take(self, size: int) -> int:
        """The next `size` bits; raise ValueError behind the end."""
        self.at += size
        if self.at > len(self.text):
            raise ValueError
        return int(self.text[self.at - size : self.at], 2)
