"""`train:` of params.yaml -> optimizer, learning rate of each step, and the moving average of weights.

In: a net, params, step numbers. Out: torch optimizers and plain numbers. Nothing here keeps time or chance: the rate is
a function of the step, so a training that goes on after `kill -9` needs no scheduler to restore.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from components.model.nets import Normalised
    from components.params import TrainParams

STEPS_DOWN = (0.6, 0.85)  # shares of the training after which schedule "step" divides the rate by ten
RISE = 0.3  # share of the training in which "onecycle" rises where no warm-up is given
LOW = 0.04  # where a rise begins, as a share of the top


def optimizer_for(net: nn.Module, params: TrainParams, depths: Mapping[str, int]) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum; weight decay only on tensors of two dimensions or more.

    Each of its groups knows its `share` of the rate, `layer_decay` to the power of its depth (Clark et al. 2020), and
    whether it belongs to the `body` before the class layers (`layer_rates` has the depths).
    """
    from torch.optim import SGD, AdamW

    groups: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for name, weight in net.named_parameters():
        decays = weight.ndim > 1  # not biases and normalisation
        groups.setdefault((params.layer_decay ** depths[name], depths[name] > 0, decays), []).append(weight)
    each = [
        {"params": weights, "weight_decay": params.weight_decay * decays, "share": share, "body": body}
        for (share, body, decays), weights in groups.items()
    ]
    if params.optimizer == "adamw":
        return AdamW(each, lr=params.lr, fused=True)
    return SGD(each, lr=params.lr, momentum=params.momentum, nesterov=params.momentum > 0, fused=True)


def set_rate(optimizer: Optimizer, head: float, of_body: float) -> None:
    """Let the class layers learn at the rate `head`, the rest at `of_body` times that; each group by its own share."""
    for group in optimizer.param_groups:
        group["lr"] = head * group["share"] * (of_body if group["body"] else 1.0)


def rate(step: int, steps: int, steps_per_epoch: int, params: TrainParams) -> float:
    """Learning rate of `step` (from 0) of `steps`.

    All schedules rise in a straight line over the warm-up. Then "cosine" falls along half a cosine to 0, "onecycle" in
    a straight line to 0, "step" to a tenth at 60% and a hundredth at 85% of the training.
    """
    rise = min(params.warmup_epochs * steps_per_epoch, steps - 1)
    if params.schedule == "onecycle" and not rise:
        rise = RISE * steps
    if step < rise:
        return params.lr * (LOW + (1 - LOW) * step / rise)
    gone = (step - rise) / max(steps - rise, 1)
    if params.schedule == "cosine":
        return params.lr * 0.5 * (1 + math.cos(math.pi * gone))
    if params.schedule == "onecycle":
        return params.lr * (1 - gone)
    return params.lr * math.prod(0.1 for share in STEPS_DOWN if step >= share * steps)


class Average:
    """Exponential moving average of all weights and running statistics of a net (Polyak averaging).

    Early on it looks back over a tenth of the steps at most, or the random start would linger in it.
    """

    def __init__(self, model: Normalised, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay

    def update(self, model: Normalised, step: int) -> None:
        """Take in `model` as it is after `step` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)
