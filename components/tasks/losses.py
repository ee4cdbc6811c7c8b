"""What wrong answers cost while a net trains: the losses that tasks offer by name.

In: logits and targets of a batch, on any device. Out: one number, a mean over what was judged, with its gradient. Two
families: for the presence of each class in an image, (N, C) logits and wanted probabilities; and for the class of each
pixel, (N, C, s, s) logits that are first brought to the (N, S, S) of the targets, in which IGNORED pixels cost nothing.
Which of them a task offers, and which is its usual one, is the task's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from components.tasks.areas import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from components.params import TrainParams

CALM, SHIFT = 4.0, 0.05  # asymmetric loss: exponent of absent classes; probability from which they cost anything
SMOOTH = 1.0  # pixels: what a class that hardly occurs in the batch is measured against

Loss = Callable[["Tensor", "Tensor", "Tensor | None", "TrainParams"], "Tensor"]


def bce(outputs: Tensor, wanted: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """Binary cross-entropy of each class by itself; `weights` (C,)."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(outputs, _softened(wanted, params.label_smoothing), weight=weights)


def sigmoid_focal(outputs: Tensor, wanted: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """Focal loss (Lin et al. 2017): what is nearly right by itself hardly counts; exponent `params.gamma`."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    wanted = _softened(wanted, params.label_smoothing)
    each = binary_cross_entropy_with_logits(outputs, wanted, weight=weights, reduction="none")
    wrong = (outputs.sigmoid() - wanted).abs()
    return (each * wrong**params.gamma).mean()


def asymmetric(outputs: Tensor, wanted: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021): of the many absent classes only those that seem present count."""
    from torch.nn.functional import logsigmoid

    wanted = _softened(wanted, params.label_smoothing)
    present = -logsigmoid(outputs)
    seeming = (outputs.sigmoid() - SHIFT).clamp(min=0)
    absent = -(1 - seeming).clamp(min=1e-8).log() * seeming**CALM
    each = wanted * present + (1 - wanted) * absent
    return (each if weights is None else each * weights).mean()


def cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """Softmax cross-entropy of each judged pixel; `weights` (C,), a mean in which a pixel counts as its class does."""
    each, judged = _pixel_cross_entropy(outputs, targets, weights, params.label_smoothing)
    return each.sum() / _counts_as(targets, judged, weights)


def focal(outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """Cross-entropy of each judged pixel times (1 - probability of the truth) ** `params.gamma` (Lin et al. 2017)."""
    each, judged = _pixel_cross_entropy(outputs, targets, weights, params.label_smoothing)
    plain = _pixel_cross_entropy(outputs, targets, None, 0.0)[0]
    return (each * (1 - (-plain).exp()) ** params.gamma).sum() / _counts_as(targets, judged, weights)


def dice(outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:  # noqa: ARG001
    """1 - soft Dice coefficient (Milletari et al. 2016) over the batch, mean over the classes that occur in it."""
    both, answered, there = _overlaps(outputs, targets)
    return _mean_over_classes(1 - (2 * both + SMOOTH) / (answered + there + SMOOTH), there, weights)


def iou(outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:  # noqa: ARG001
    """1 - soft intersection over union (Rahman and Wang 2016) over the batch, mean over the classes in it."""
    both, answered, there = _overlaps(outputs, targets)
    return _mean_over_classes(1 - (both + SMOOTH) / (answered + there - both + SMOOTH), there, weights)


def dice_cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
    """The sum of both: cross-entropy learns fast, Dice minds the small classes (Isensee et al. 2021)."""
    enlarged = _resized(outputs, targets)
    return dice(enlarged, targets, weights, params) + cross_entropy(enlarged, targets, weights, params)


def _softened(wanted: Tensor, smoothing: float) -> Tensor:
    return wanted * (1 - smoothing) + smoothing / 2


def _pixel_cross_entropy(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor]:
    """(N, S, S): cost of each pixel, 0 where it is not judged; and whether it is."""
    from torch.nn import functional

    each = functional.cross_entropy(
        _resized(outputs, targets),
        targets.long(),
        weight=weights,
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return each, targets != IGNORED


def _counts_as(targets: Tensor, judged: Tensor, weights: Tensor | None) -> Tensor:
    """How many judged pixels there are, each counted as its class; not 0, for a batch that has none."""
    counted = judged if weights is None else weights[targets[judged].long()]
    return counted.sum().clamp(min=1e-6)


def _overlaps(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(C,) each, in judged pixels: the probability put on the truth, all probability, and how many there are."""
    probabilities = _resized(outputs, targets).softmax(dim=1)
    judged = (targets != IGNORED).to(probabilities.dtype)
    places = targets.long() * (targets != IGNORED)
    hits = probabilities.gather(1, places[:, None])[:, 0] * judged
    zeros = probabilities.new_zeros(outputs.shape[:2])  # image by image: sums of millions of pixels would be rounded
    both = zeros.scatter_add(1, places.flatten(1), hits.flatten(1)).sum(dim=0)
    there = zeros.scatter_add(1, places.flatten(1), judged.flatten(1)).sum(dim=0)
    answered = (probabilities.flatten(2) @ judged.flatten(1)[:, :, None]).sum(dim=(0, 2))
    return both, answered, there


def _mean_over_classes(each: Tensor, there: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of `each` (C,) over the classes that are `there`, weighted; 0 where there is none."""
    counted = (there > 0) * (there.new_ones(there.shape) if weights is None else weights)
    return (each * counted).sum() / counted.sum().clamp(min=1e-6)


def _resized(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N, C, s, s) -> (N, C, S, S), in between the answers of the net, as `decode` does."""
    from torch.nn.functional import interpolate

    if outputs.shape[-2:] == targets.shape[-2:]:
        return outputs
    return interpolate(outputs, size=list(targets.shape[-2:]), mode="bilinear", align_corners=False)
