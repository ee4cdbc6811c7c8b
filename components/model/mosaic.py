"""Four images in one, with their targets (Bochkovskiy et al. 2020): small objects, cut objects, new neighbours.

In: float batches whose targets have places (boxes or pixels). Out: the same, where chance said so composed of an image
and the next three of its batch, which meet at a random point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.model.moving import EMPTY, boxes_after, pixels_after, resampled

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance
    from components.tasks import TargetKind

CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))  # left top, right top, left bottom, right bottom
MEETING = (0.25, 0.75)  # where the four meet, across and down, in shares of the side
ZOOM = (0.5, 1.0)  # size of each of the four


def composed(images: Tensor, targets: Tensor, kind: TargetKind, share: float, chance: Chance) -> tuple[Tensor, Tensor]:
    """Compose a `share` of the images (N, 3, S, S) of four each; slots for boxes grow to the most that one image has.

    Images mix with those of this process alone, so several processes compose other pictures than one.
    """
    import torch

    if not share or kind == "classes":
        return images, targets
    hit, *at = chance.numbers(3)
    zoom = ZOOM[0] + chance.numbers(4) * (ZOOM[1] - ZOOM[0])
    rows = (hit < share).nonzero()[:, 0]
    if not len(rows):
        return images, targets
    images = images.float()
    meeting = 2 * (MEETING[0] + torch.stack(at, dim=1)[rows] * (MEETING[1] - MEETING[0])) - 1
    pictures, parts = _four(images, targets, kind, rows, meeting.to(images.device), zoom[:, rows].to(images.device))
    images = images.index_copy(0, rows.to(images.device), pictures)
    if kind == "pixels":
        return images, targets.index_copy(0, rows.to(targets.device), parts)
    return images, _with_rows(targets, rows, parts)


def _four(
    images: Tensor, targets: Tensor, kind: TargetKind, rows: Tensor, meeting: Tensor, zoom: Tensor
) -> tuple[Tensor, Tensor]:
    """Pictures for `rows`, four images each, and their targets: areas, or the boxes of all four side by side."""
    import torch

    side = images.shape[-1]
    pictures, areas, boxes = images[rows], targets[rows], []
    for place, (across, down) in enumerate(CORNERS):
        others = (rows + place) % len(images)
        corner = torch.tensor([across, down], device=images.device)
        where = _map(meeting, zoom[place], corner)
        inside = _quarter(meeting, corner, side)
        pictures = torch.where(inside[:, None], resampled(images[others], where, mirror=False), pictures)
        if kind == "pixels":
            areas = torch.where(inside, pixels_after(targets[others], where), areas)
        else:
            boxes.append(boxes_after(targets[others], where, side, _frame(meeting, corner)))
    return pictures, areas if kind == "pixels" else torch.cat(boxes, dim=1)


def _map(meeting: Tensor, zoom: Tensor, corner: Tensor) -> Tensor:
    """(n, 2, 3): maps that put the inner corner of an image on the meeting point."""
    import torch

    linear = torch.diag_embed((1 / zoom)[:, None].expand(-1, 2))
    return torch.cat([linear, (-meeting / zoom[:, None] - corner)[:, :, None]], dim=2)


def _quarter(meeting: Tensor, corner: Tensor, side: int) -> Tensor:
    """bool (n, S, S): the pixels between the meeting point and `corner`."""
    import torch

    places = (2 * torch.arange(side, device=meeting.device) + 1) / side - 1
    beyond = (places > meeting[:, :, None]) == (corner[:, None] > 0)
    return beyond[:, 1, :, None] & beyond[:, 0, None, :]


def _frame(meeting: Tensor, corner: Tensor) -> Tensor:
    """(n, 4): the same as a box in shares of the square."""
    import torch

    middle = meeting / 2 + 0.5
    first = torch.where(corner > 0, middle, torch.zeros_like(middle))
    return torch.cat([first, torch.where(corner > 0, torch.ones_like(middle), middle)], dim=1)


def _with_rows(targets: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
    """`targets` (N, K, 7) with `boxes` (n, 4 K, 7) in `rows`; only as many slots as are needed."""
    import torch

    wide = boxes.new_zeros(len(targets), boxes.shape[1], boxes.shape[2])
    wide[..., 4] = EMPTY
    wide[:, : targets.shape[1]] = targets
    wide[rows] = boxes
    first = torch.sort((wide[..., 4] < 0).int(), dim=1, stable=True).indices
    slots = max(int((wide[..., 4] >= 0).sum(dim=1).max()), 1)
    return wide.gather(1, first[:, :slots, None].expand(-1, -1, wide.shape[2]))
