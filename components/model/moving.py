"""Images and their targets under one affine map each: shifted, flipped, turned, zoomed, cropped.

In: batches, targets, params. Out: the same, resampled once, on the device where they were. A map is (2, 3) and leads
from a place in the output to one in the input, both -1..1 from the left top; boxes go the other way. Crops and flips
alone, which most recipes for large images are, take a path of their own on CPUs: uint8 images stay uint8, which is
three times as fast.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from components.tasks.areas import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance
    from components.params import AugmentParams
    from components.tasks import TargetKind

CROP_ASPECT = (3 / 4, 4 / 3)  # width / height of a crop before it fills the square (Szegedy et al. 2015)
LEAST_AREA = 0.25  # of a box that must stay in the image, or it is dropped
LEAST_SIDE = 1.0  # px that must stay of each side
EMPTY = -1.0  # class of a slot without a box


def moved(
    images: Tensor, targets: Tensor, kind: TargetKind, params: AugmentParams, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Move images (N, 3, S, S) and their targets, each image in its own way; what comes back may be float."""
    flips = params.flip or params.flip_vertical
    if not (params.shift or flips or params.rotate or params.scale or params.crop):
        return images, targets
    side = images.shape[-1]
    where = maps(side, params, chance)
    upright = not (params.shift or params.rotate or params.scale)
    if upright and images.device.type == "cpu":
        return _cut_out(images, where), follow(targets, kind, where, side)
    where = where.to(images.device)
    return resampled(images.float(), where, mirror=kind == "classes"), follow(targets, kind, where, side)


def maps(side: int, params: AugmentParams, chance: Chance) -> Tensor:
    """(N, 2, 3): one map an image. Shifts are whole pixels, to stay sharp."""
    import torch

    angle = chance.either_way(math.radians(params.rotate))
    zoom = 1 + chance.either_way(params.scale)
    mirror = torch.where(chance.numbers(1)[0] < 0.5 * params.flip, -1.0, 1.0)
    shift = torch.round((2 * chance.numbers(2) - 1) * params.shift * side) * (2 / side)
    upside = _upside(params, chance, mirror)
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    linear = torch.stack([cosine * mirror, -sine * upside, sine * mirror, cosine * upside], dim=1).view(-1, 2, 2)
    if not params.crop:
        return torch.cat([linear, shift.T[:, :, None]], dim=2)
    share, place = _crops(side, params.crop, chance)
    return torch.cat([linear * share[:, None], (linear @ place[:, :, None]) + shift.T[:, :, None]], dim=2)


def _upside(params: AugmentParams, chance: Chance, like: Tensor) -> Tensor:
    import torch

    if not params.flip_vertical:
        return torch.ones_like(like)
    return torch.where(chance.numbers(1)[0] < 0.5, -1.0, 1.0)


def _crops(side: int, least: float, chance: Chance) -> tuple[Tensor, Tensor]:
    """(N, 2) each, across and down: which share of the side a crop has, and where its middle lies, -1..1.

    Crops begin and end between pixels.
    """
    import torch

    area, aspect, across, down = chance.numbers(4)
    area = least + area * (1 - least)
    aspect = CROP_ASPECT[0] * (CROP_ASPECT[1] / CROP_ASPECT[0]) ** aspect
    share = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1)
    pixels = (share * side).round().clamp(1, side)
    first = (torch.stack([across, down], dim=1) * (side - pixels)).round()
    return pixels / side, (2 * first + pixels) / side - 1


def _cut_out(images: Tensor, where: Tensor) -> Tensor:
    """`images` of the kind that they are, after maps that only crop, enlarge and flip."""
    import torch
    from torch.nn.functional import interpolate

    side, moved = images.shape[-1], torch.empty_like(images)
    sides = (where[:, [0, 1], [0, 1]].abs() * side).round().int()
    first = ((where[:, :, 2] + 1) * side / 2 - sides / 2).round().int()
    mirrored = where[:, [0, 1], [0, 1]] < 0
    for row, ((wide, high), (left, top), flips) in enumerate(
        zip(sides.tolist(), first.tolist(), mirrored.tolist(), strict=True)
    ):
        part = images[row : row + 1, :, top : top + high, left : left + wide]
        if (wide, high) != (side, side):
            part = interpolate(part, (side, side), mode="bilinear", align_corners=False)
        moved[row] = part[0].flip([axis for axis, flip in zip((2, 1), flips, strict=True) if flip])
    return moved


def resampled(images: Tensor, where: Tensor, mirror: bool) -> Tensor:
    """Bilinear; what comes in over an edge mirrors the image, or else has its mean colour.

    A mirrored object would be one without its box.
    """
    from torch.nn.functional import affine_grid, grid_sample

    grid = affine_grid(where, list(images.shape), align_corners=False)
    if mirror:
        return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    middle = images.mean(dim=(2, 3), keepdim=True)
    return grid_sample(images - middle, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + middle


def follow(targets: Tensor, kind: TargetKind, where: Tensor, side: int) -> Tensor:
    """The targets of images of `side` px after the maps `where`."""
    if kind == "boxes":
        return boxes_after(targets, where, side)
    return pixels_after(targets, where) if kind == "pixels" else targets


def pixels_after(areas: Tensor, where: Tensor) -> Tensor:
    """uint8 (N, S, S), each pixel from the nearest one; IGNORED where nothing came in."""
    from torch.nn.functional import affine_grid, grid_sample

    shifted = areas[:, None].float() - IGNORED  # so that the zeros from outside are IGNORED
    grid = affine_grid(where, list(shifted.shape), align_corners=False)
    found = grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (found[:, 0] + IGNORED).to(areas.dtype)


def boxes_after(boxes: Tensor, where: Tensor, side: int, frame: Tensor | None = None) -> Tensor:
    """(N, K, 7): the smallest upright boxes around what `boxes` became, clipped to `frame` (N, 4; the whole image).

    A box of which under LEAST_AREA or LEAST_SIDE stays gets class EMPTY.
    """
    import torch

    left, top, right, bottom = (2 * boxes[..., :4] - 1).unbind(-1)
    corners = torch.stack([left, top, right, top, left, bottom, right, bottom], dim=-1)
    corners = corners.view(*boxes.shape[:2], 4, 2)
    back = torch.linalg.inv(where[:, :, :2])[:, None, None]
    places = (back @ (corners - where[:, None, None, :, 2])[..., None])[..., 0] / 2 + 0.5
    whole = torch.cat([places.amin(dim=2), places.amax(dim=2)], dim=-1)
    clipped = _clipped(whole, frame)
    sides = clipped[..., 2:] - clipped[..., :2]
    stays = sides.prod(-1) >= LEAST_AREA * (whole[..., 2:] - whole[..., :2]).prod(-1)
    keep = stays & (sides >= LEAST_SIDE / side).all(-1) & (boxes[..., 4] >= 0)
    after = torch.cat([clipped * keep[..., None], boxes[..., 4:]], dim=-1)
    after[..., 4] = torch.where(keep, boxes[..., 4], EMPTY)
    return after


def _clipped(boxes: Tensor, frame: Tensor | None) -> Tensor:
    """`boxes` (N, K, 4) within `frame` (N, 4): left, top, right, bottom; without one within 0..1."""
    import torch

    if frame is None:
        return boxes.clamp(0, 1)
    first, last = frame[:, None, :2].repeat(1, 1, 2), frame[:, None, 2:].repeat(1, 1, 2)
    return torch.minimum(torch.maximum(boxes, first), last)
