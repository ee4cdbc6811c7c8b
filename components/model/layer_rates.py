"""How deep a weight lies in its net, and what that means: its share of the learning rate, whether it learns yet.

In: any net and its class layers, params. Out: depths by name of the weight: 0 for class layers, 1 for the last block
before them, and so on to the stem. A block is what a net repeats (a residual block, a transformer layer, a stage),
known by the numbers in the names of weights, which go from input to output in every net of the zoo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from components.params import TrainParams

ALL = 1_000_000  # blocks; more than a net has
NUMBERED = re.compile(r"(|.*(layer|block|stage)_?)\d+")


def depths_in(net: nn.Module, class_layers: Sequence[nn.Module]) -> dict[str, int]:
    """Name of each parameter of `net` -> its depth."""
    last = {id(weight) for layer in class_layers for weight in layer.parameters()}
    names = [name for name, weight in net.named_parameters() if id(weight) not in last]
    thick = {block_of(name) for name, weight in net.named_parameters() if weight.ndim > 1}
    order: dict[str, int] = {}
    count = 0
    for block in dict.fromkeys(map(block_of, names)):
        count += block in thick or not count  # a normalisation by itself belongs to the block before it
        order[block] = count - 1
    return {name: 0 for name, _ in net.named_parameters()} | {name: count - order[block_of(name)] for name in names}


def block_of(name: str) -> str:
    """The part of a weight's name that names its block: up to the first numbers, else the first word.

    layer4.1.conv2.weight -> layer4.1, features.3.block.0.0.bias -> features.3, blocks.7.norm1.weight -> blocks.7,
    inception4a.branch1.conv.weight -> inception4a.
    """
    parts = name.split(".")[:-1]
    first = next((place for place, part in enumerate(parts) if NUMBERED.fullmatch(part)), None)
    if first is None:
        return parts[0] if parts else name
    end = first + 1
    while end < len(parts) and parts[end].isdigit():
        end += 1
    return ".".join(parts[:end])


def stage_at(epoch: int, params: TrainParams) -> tuple[int, float]:
    """How many blocks learn beside the class layers in `epoch` (the first is 1), and their share of the rate."""
    if params.unfreeze:
        reached = [stage for stage in params.unfreeze if stage.epoch <= epoch]
        return (reached[-1].blocks, reached[-1].rate) if reached else (0, 1.0)
    return (0 if epoch <= params.freeze_epochs else ALL), 1.0


def thaw(net: nn.Module, depths: Mapping[str, int], blocks: int) -> None:
    """Let the class layers and the last `blocks` learn; the running statistics and dropout of the rest are at rest."""
    for name, weight in net.named_parameters():
        weight.requires_grad_(depths[name] <= blocks)
    net.train(blocks >= max(depths.values()))
    for module in net.modules():
        if any(weight.requires_grad for weight in module.parameters(recurse=False)):
            module.training = True
