"""What a detector's answer costs: which rows are to answer for which object, and how wrong they are. In torch.

In: outputs (N, A, 7 + C) as `detector_outputs` describes them, targets (N, K, 7) as `boxes` makes them. Out: one
number. Which rows answer for an object is chosen anew in every step, among those whose cell lies in its box, by how
well they do already (TOOD: Feng et al. 2021; Generalized focal loss: Li et al. 2020). So the loss fits any grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from components.tasks.boxes import CLASS, CROWD
from components.tasks.detector_outputs import ACROSS, COLUMN, LOGITS

if TYPE_CHECKING:
    from torch import Tensor

ANSWERING = 10  # rows that learn an object, at most
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0  # how much each counts in the choice of rows
LEAST_QUALITY = 0.1  # asked of the best row of an object, however bad it is still
BOX_WEIGHT = 2.0  # of the boxes' cost beside the classes'


class Chosen(NamedTuple):
    """For each row the object it is to answer for."""

    quality: Tensor  # (N, A) 0..1: the score it should give; 0 for rows that are to say nothing
    box: Tensor  # (N, A, 4) the true box, in shares of the square
    place: Tensor  # (N, A) its class; 0 where quality is 0
    judged: Tensor  # (N, A) 1, or 0 for a row within a crowd, whatever it says


def detector_loss(outputs: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Quality focal loss of the classes (exponent `gamma`) and GIoU loss of the boxes, by the quality asked for.

    `weights` (C,) counts a class more or less.
    """
    costs, asked = losses_of_images(outputs, targets, weights, gamma)
    return costs.sum() / asked.sum().clamp(min=1)


def losses_of_images(outputs: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> tuple[Tensor, Tensor]:
    """Two (N,): the cost of each image, and the quality asked of it, by which the sum of costs is to be divided."""
    import torch

    logits, boxes = outputs[..., LOGITS:], _boxes(outputs)
    with torch.no_grad():
        chosen = _chosen(outputs, boxes, _trimmed(targets))
    heavy = torch.ones(logits.shape[-1], device=logits.device) if weights is None else weights
    wanted = torch.zeros_like(logits).scatter_(2, chosen.place[..., None], chosen.quality[..., None])
    classes = (_focal(logits, wanted, gamma) * heavy).sum(dim=2) * chosen.judged
    placed = _box_cost(boxes, chosen) * chosen.quality * heavy[chosen.place]
    return (classes + BOX_WEIGHT * placed).sum(dim=1), chosen.quality.sum(dim=1)


def _focal(logits: Tensor, wanted: Tensor, gamma: float) -> Tensor:
    from torch.nn.functional import binary_cross_entropy_with_logits

    each = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return each * (wanted - logits.sigmoid()).abs() ** gamma


def _box_cost(boxes: Tensor, chosen: Chosen) -> Tensor:
    """(N, A): 1 - GIoU (Rezatofighi et al. 2019) for rows that answer for an object, 0 for the rest."""
    import torch

    answering = chosen.quality > 0
    cost = torch.zeros_like(chosen.quality)
    overlap, around = _overlap(boxes[answering], chosen.box[answering])
    cost[answering] = 1 - overlap + around
    return cost


def _overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of boxes (..., 4), broadcast, and what GIoU takes off it: the share of their hull that neither covers."""
    import torch

    inner = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    outer = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    shared, hull = inner.clamp(min=0).prod(dim=-1), outer.prod(dim=-1).clamp(min=1e-9)
    union = _area(one) + _area(other) - shared
    return shared / union.clamp(min=1e-9), (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def _centres(outputs: Tensor) -> Tensor:
    """(A, 2) shares of the square; the same for every image."""
    return (outputs[0, :, COLUMN:ACROSS] + 0.5) / outputs[0, :, ACROSS : ACROSS + 1]


def _boxes(outputs: Tensor) -> Tensor:
    """(N, A, 4) in shares of the square; not cut at its edges."""
    import torch

    distances = outputs[..., :4] / outputs[..., ACROSS : ACROSS + 1]
    centres = _centres(outputs)
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)


def _trimmed(targets: Tensor) -> Tensor:
    """Targets without the slots that are empty in the whole batch, but for one: the fuller ones come first."""
    order = (targets[..., CLASS] < 0).int().argsort(dim=1, stable=True)
    most = int((targets[..., CLASS] >= 0).sum(dim=1).max())
    return targets.gather(1, order[:, : max(most, 1), None].expand(-1, -1, targets.shape[2]))


def _chosen(outputs: Tensor, boxes: Tensor, targets: Tensor) -> Chosen:
    import torch

    asked = (targets[..., CLASS] >= 0) & (targets[..., CROWD] == 0)
    place = targets[..., CLASS].clamp(min=0).long()
    within = _within(outputs, targets)  # (N, K, A)
    overlap = _overlap(targets[:, :, None, :4], boxes[:, None])[0]
    scores = outputs[..., LOGITS:].sigmoid().transpose(1, 2)  # (N, C, A)
    fit = scores.gather(1, place[..., None].expand(-1, -1, scores.shape[2])) ** SCORE_POWER
    fit = fit * overlap.clamp(min=0.01) ** OVERLAP_POWER * (within & asked[..., None])
    answering = _best(fit, overlap)
    quality = _quality(fit * answering, overlap * answering)
    owner = quality.argmax(dim=1)  # (N, A)
    crowds = within & (targets[..., CLASS] >= 0)[..., None] & (targets[..., CROWD] == 1)[..., None]
    asked_of = quality.amax(dim=1)
    return Chosen(
        asked_of,
        targets[..., :4].gather(1, owner[..., None].expand(-1, -1, 4)),
        torch.where(asked_of > 0, place.gather(1, owner), 0),
        1.0 - (crowds.any(dim=1) & (asked_of == 0)).float(),
    )


def _within(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N, K, A): whether the row's cell has its centre in the box; a box is taken to be a finest cell wide at least."""
    import torch

    centres, cell = _centres(outputs), 1 / outputs[0, :, ACROSS].max()
    middle = (targets[..., :2] + targets[..., 2:4]) / 2
    half = ((targets[..., 2:4] - targets[..., :2]) / 2).clamp(min=0.51 * cell)
    return torch.all((centres - middle[:, :, None]).abs() < half[:, :, None], dim=-1)


def _best(fit: Tensor, overlap: Tensor) -> Tensor:
    """(N, K, A) bool: the rows that fit each object best; a row that fits several is left to what it overlaps most."""
    import torch

    top = fit.topk(min(ANSWERING, fit.shape[2]), dim=2).indices
    best = torch.zeros_like(fit, dtype=torch.bool).scatter_(2, top, value=True) & (fit > 0)
    mine = (overlap * best).argmax(dim=1, keepdim=True)
    only = torch.zeros_like(best).scatter_(1, mine, value=True)
    return best & (only | (best.sum(dim=1, keepdim=True) < 2))


def _quality(fit: Tensor, overlap: Tensor) -> Tensor:
    """(N, K, A): fit scaled so that the best row of an object is asked for the best overlap that any row has."""
    best = overlap.amax(dim=2, keepdim=True).clamp(min=LEAST_QUALITY)
    return fit / fit.amax(dim=2, keepdim=True).clamp(min=1e-30) * best
