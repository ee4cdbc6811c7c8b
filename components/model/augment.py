"""uint8 batches -> float batches as a net sees them: varied in training, as they are otherwise.

In: uint8 (N, 3, S, S) on any device. Out: float32 of the same shape, still 0..255 (normalisation is part of the net).
All chance comes from one CPU generator, so a batch is the same on every device and after every restart. Whole batches
are computed at once: a thousand 32-px images take about 0.1 s of a core.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from components.params import AugmentParams

ERASED_AREA = (0.02, 0.2)  # of the image
ERASED_ASPECT = (0.5, 2.0)  # height / width


def for_training(images: Tensor, params: AugmentParams, generator: Generator) -> Tensor:
    """Move, flip, turn and zoom, then change brightness and contrast, then blank out rectangles."""
    varied = _move(images.float(), params, generator)
    varied = _relight(varied, params, generator)
    return _erase(varied, params.erase, generator)


def for_evaluation(images: Tensor) -> Tensor:
    """The images as they are."""
    return images.float()


def _move(images: Tensor, params: AugmentParams, generator: Generator) -> Tensor:
    """One bilinear resampling; what comes in over an edge mirrors the image. Shifts are whole pixels, to stay sharp."""
    from torch.nn.functional import affine_grid, grid_sample

    if not (params.shift or params.flip or params.rotate or params.scale):
        return images
    where = _where_from(len(images), images.shape[-1], params, generator).to(images.device)
    grid = affine_grid(where, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _where_from(count: int, size: int, params: AugmentParams, generator: Generator) -> Tensor:
    """(count, 2, 3): for each image the affine map from a place in the output to one in the input, both in -1..1."""
    import torch

    angle = _either_way(count, math.radians(params.rotate), generator)
    zoom = 1 + _either_way(count, params.scale, generator)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5 * params.flip, -1.0, 1.0)
    shift = torch.round(_either_way(2 * count, params.shift * size, generator)).view(2, count) * (2 / size)
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [cosine * mirror, -sine, shift[0], sine * mirror, cosine, shift[1]]
    return torch.stack(rows, dim=1).view(count, 2, 3)


def _relight(images: Tensor, params: AugmentParams, generator: Generator) -> Tensor:
    """Brightness times 1 ± `brightness`, contrast about the image's mean times 1 ± `contrast`; kept within 0..255."""
    if not (params.brightness or params.contrast):
        return images
    count = len(images)
    brightness = 1 + _either_way(count, params.brightness, generator).view(-1, 1, 1, 1).to(images.device)
    contrast = 1 + _either_way(count, params.contrast, generator).view(-1, 1, 1, 1).to(images.device)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (((images - middle) * contrast + middle) * brightness).clamp_(0, 255)


def _erase(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Fill a rectangle with the mean colour of its image, in a share `chance` of the images (Zhong et al. 2017)."""
    import torch

    if not chance:
        return images
    count, _, height, width = images.shape
    hit, area, aspect, top, left = torch.rand(5, count, generator=generator)
    area = ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])
    aspect = ERASED_ASPECT[0] * (ERASED_ASPECT[1] / ERASED_ASPECT[0]) ** aspect
    down = _stretch(height, (area * aspect).sqrt().clamp(max=1), top)
    across = _stretch(width, (area / aspect).sqrt().clamp(max=1), left)
    inside = down[:, None, :, None] & across[:, None, None, :] & (hit < chance).view(-1, 1, 1, 1)
    return torch.where(inside.to(images.device), images.mean(dim=(2, 3), keepdim=True), images)


def _stretch(side: int, share: Tensor, place: Tensor) -> Tensor:
    """bool (N, side): a stretch of `share` of the side, at `place` (0 first, 1 last) of where it can lie."""
    import torch

    first = (place * (1 - share) * side).round()[:, None]
    steps = torch.arange(side)
    return (steps >= first) & (steps < first + (share * side).round()[:, None])


def _either_way(count: int, most: float, generator: Generator) -> Tensor:
    """(count,) numbers, even between -most and most."""
    import torch

    return (2 * torch.rand(count, generator=generator) - 1) * most
