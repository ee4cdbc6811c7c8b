"""Two images in one, with both their labels: MixUp and CutMix, for tasks that judge an image as a whole.

In: float images (N, 3, S, S) and targets, int64 (N,) or float32 (N, C). Out: images, and float32 (N, C) targets in
which each label counts as much as its image shows. Each image is mixed with the one before it in its batch, whose order
is random; images of other processes are out of reach, so several processes mix other pairs than one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.model.colours import stretch

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance
    from components.params import AugmentParams


def mixed(
    images: Tensor, targets: Tensor, classes: int, params: AugmentParams, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Mix by MixUp or CutMix, a batch by either where both are on; targets stay as they are where none is."""
    from torch.nn.functional import one_hot

    if not (params.mixup or params.cutmix):
        return images, targets
    soft = one_hot(targets, classes).float() if targets.ndim == 1 else targets
    cut = bool(params.cutmix) and (not params.mixup or chance.one() < 0.5)
    share = _shares(params.cutmix if cut else params.mixup, chance).to(images.device)
    images, share = (_cut if cut else _blend)(images, share, chance)
    share = share[:, None]
    return images, soft * share + soft.roll(1, dims=0) * (1 - share)


def _shares(shape: float, chance: Chance) -> Tensor:
    """(N,) float32: how much of each image stays, from Beta(shape, shape)."""
    import torch
    from scipy.stats import beta

    return torch.from_numpy(beta.ppf(chance.numbers(1)[0].double().numpy(), shape, shape)).float()


def _blend(images: Tensor, share: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """MixUp (Zhang et al. 2018): a weighted mean of two images."""
    return images.roll(1, dims=0).lerp(images, share.view(-1, 1, 1, 1)), share


def _cut(images: Tensor, share: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al. 2019): a square of the other image; `share` becomes what is left to the pixel."""
    import torch

    side = images.shape[-1]
    top, left = chance.numbers(2)
    cut = (1 - share.cpu()).sqrt()
    hole = stretch(side, cut, top)[:, :, None] & stretch(side, cut, left)[:, None]
    left_over = 1 - hole.float().mean(dim=(1, 2))
    hole = hole[:, None].to(images.device)
    return torch.where(hole, images.roll(1, dims=0), images), left_over.to(images.device)
