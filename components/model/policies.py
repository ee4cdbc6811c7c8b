"""Ready-made mixtures of augmentations, each image by itself: RandAugment and TrivialAugment, as torchvision has them.

In: uint8 (N, 3, S, S). Out: the same. They draw from torch's own generator, which is seeded for each image and put back
as it was. Slower than the whole-batch path of `moving` and `colours`: about 1 ms an image of 224 px.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.chance import Chance

SEEDS = 2**24  # as many as a float32 in 0..1 tells apart


def by_policy(images: Tensor, policy: str, chance: Chance) -> Tensor:
    """Vary each image by `policy`: none, randaugment (Cubuk et al. 2020) or trivialaugment (Müller, Hutter 2021)."""
    import torch

    if policy == "none":
        return images
    vary = _transform(policy)
    varied = torch.empty_like(images)
    with torch.random.fork_rng(devices=[]):
        for row, number in enumerate(chance.numbers(1)[0].tolist()):
            torch.manual_seed(int(number * SEEDS))
            varied[row] = vary(images[row])
    return varied


def _transform(policy: str) -> Any:
    from torchvision.transforms import InterpolationMode, v2

    kinds = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
    return kinds[policy](interpolation=InterpolationMode.BILINEAR)
