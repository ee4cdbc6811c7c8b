"""uint8 batches -> float batches as a net sees them: varied in training, as they are otherwise.

In: uint8 (N, 3, S, S) on any device, and targets. Out: float32 of the same shape, still 0..255 (normalisation is part
of the net), and the targets, moved as their images were. Whole batches are computed at once (a thousand 32-px images
take about 0.1 s of a core), all chance comes from one `Chance`. How it is done lies in `policies`, `mosaic`, `moving`
and `colours`; images that are mixed with each other, and their labels, in `mixing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.model.colours import blurred, erased, recoloured
from components.model.mosaic import composed
from components.model.moving import moved
from components.model.policies import by_policy

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance
    from components.params import AugmentParams
    from components.tasks import TargetKind


def for_training(
    images: Tensor, targets: Tensor, kind: TargetKind, params: AugmentParams, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Compose and move images with their targets, then change colours, blur, and blank out rectangles.

    `targets` by `kind`: "classes" stay as they are; "boxes" (N, K, 7) are moved, clipped, and dropped (class -1) where
    too little stays, and a mosaic changes K; "pixels" uint8 (N, S, S) are moved, 255 where nothing came in.
    """
    varied = by_policy(images, params.policy, chance)
    varied, targets = composed(varied, targets, kind, params.mosaic, chance)
    varied, targets = moved(varied, targets, kind, params, chance)
    varied = blurred(recoloured(varied.float(), params, chance), params.blur, chance)
    return erased(varied, params.erase, chance), targets


def for_evaluation(images: Tensor) -> Tensor:
    """The images as they are."""
    return images.float()
