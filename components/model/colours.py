"""Light, colour, sharpness and holes of training images; nothing moves, so targets stay as they are.

In: float (N, 3, S, S) in 0..255. Out: the same, within 0..255.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance
    from components.params import AugmentParams

ERASED_AREA = (0.02, 0.2)  # of the image
ERASED_ASPECT = (0.5, 2.0)  # height / width
BLUR = (0.1, 2.0)  # px, standard deviation (Chen et al. 2020)
# Brightness and two axes of colour (YIQ, NTSC 1953): turning the axes changes the hue, stretching them the saturation.
TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def recoloured(images: Tensor, params: AugmentParams, chance: Chance) -> Tensor:
    """Brightness times 1 ± `brightness`, contrast about the image's mean times 1 ± `contrast`, then colours."""
    if params.brightness or params.contrast:
        brightness = 1 + chance.either_way(params.brightness).view(-1, 1, 1, 1).to(images.device)
        contrast = 1 + chance.either_way(params.contrast).view(-1, 1, 1, 1).to(images.device)
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (((images - middle) * contrast + middle) * brightness).clamp_(0, 255)
    if params.saturation or params.hue:
        turn = _colour_turns(params, chance).to(images.device)
        images = (turn @ images.flatten(2)).view_as(images).clamp_(0, 255)
    return images


def _colour_turns(params: AugmentParams, chance: Chance) -> Tensor:
    """(N, 3, 3): for each image what makes new RGB of old: saturation times 1 ± `saturation`, hue ± `hue` degrees."""
    import torch

    to_yiq = torch.tensor(TO_YIQ)
    strength = 1 + chance.either_way(params.saturation)
    angle = chance.either_way(math.radians(params.hue))
    cosine, sine = strength * angle.cos(), strength * angle.sin()
    turn = torch.zeros(len(angle), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cosine, -sine, sine, cosine
    turned: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return turned


def blurred(images: Tensor, share: float, chance: Chance) -> Tensor:
    """Blur a `share` of the images with a Gaussian of BLUR px."""
    if not share:
        return images
    hit, width = chance.numbers(2)
    rows = (hit < share).nonzero()[:, 0]
    if not len(rows):
        return images
    kernels = _gaussians(BLUR[0] + width[rows] * (BLUR[1] - BLUR[0])).to(images.device)
    rows = rows.to(images.device)
    return images.index_copy(0, rows, _filtered(_filtered(images[rows], kernels[:, None]), kernels[:, :, None]))


def _gaussians(deviation: Tensor) -> Tensor:
    """(N, side): kernels that sum to 1, wide enough for three standard deviations of BLUR."""
    import torch

    reach = math.ceil(3 * BLUR[1])
    steps = torch.arange(-reach, reach + 1)
    kernels = (-0.5 * (steps / deviation[:, None]) ** 2).exp()
    normal: Tensor = kernels / kernels.sum(dim=1, keepdim=True)
    return normal


def _filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """(N, 3, S, S), each image with its own kernel (N, h, w); edges are continued."""
    from torch.nn.functional import conv2d, pad

    count, channels = images.shape[:2]
    height, width = kernels.shape[1] // 2, kernels.shape[2] // 2
    padded = pad(images, (width, width, height, height), mode="replicate").flatten(0, 1)[None]
    each = kernels.repeat_interleave(channels, dim=0)[:, None]
    return conv2d(padded, each, groups=count * channels).view_as(images)


def erased(images: Tensor, share: float, chance: Chance) -> Tensor:
    """Fill a rectangle with the mean colour of its image, in a `share` of the images (Zhong et al. 2017)."""
    import torch

    if not share:
        return images
    height, width = images.shape[-2:]
    hit, area, aspect, top, left = chance.numbers(5)
    area = ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])
    aspect = ERASED_ASPECT[0] * (ERASED_ASPECT[1] / ERASED_ASPECT[0]) ** aspect
    down = stretch(height, (area * aspect).sqrt().clamp(max=1), top)
    across = stretch(width, (area / aspect).sqrt().clamp(max=1), left)
    inside = down[:, None, :, None] & across[:, None, None, :] & (hit < share).view(-1, 1, 1, 1)
    return torch.where(inside.to(images.device), images.mean(dim=(2, 3), keepdim=True), images)


def stretch(side: int, share: Tensor, place: Tensor) -> Tensor:
    """bool (N, side): a stretch of `share` of the side, at `place` (0 first, 1 last) of where it can lie."""
    import torch

    first = (place * (1 - share) * side).round()[:, None]
    steps = torch.arange(side)
    return (steps >= first) & (steps < first + (share * side).round()[:, None])
