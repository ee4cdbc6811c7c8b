"""Architectures by name and weights by name or file -> a net; a folder with a trained model -> the same net again.

In: `train.arch` and `train.weights` of params.yaml, .safetensors files. Out: `nn.Module`s with a head for the given
number of classes. Weights are only ever read from safetensors, but for torchvision's own downloads, which are opened
as plain tensors (`weights_only`) and checked against the hash in their name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.model.card import read_card

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.model.nets import Normalised

OWN = ("resnet9",)
AUXILIARY = ("googlenet", "inception_v3")  # answer with several outputs while they train


class ZooError(ValueError):
    """No such architecture or weights, or they do not fit; the message says what would."""


def architectures() -> list[str]:
    """Every name that `train.arch` may have."""
    from torchvision import models

    return sorted([*OWN, *(name for name in models.list_models(module=models) if name not in AUXILIARY)])


def build(arch: str, classes: int, weights: str) -> nn.Module:
    """A net with `classes` outputs; `weights` is "none" (random), "default" (torchvision's) or a .safetensors file.

    Given weights enter wherever name and shape agree, which leaves out a head of other classes. Raises ZooError.
    """
    net = _bare(arch, classes)
    if weights != "none":
        state = _default_weights(arch) if weights == "default" else weights_in(Path(weights))
        _fill(net, state, f"{arch} with weights {weights}")
    return net


def head_of(net: nn.Module) -> nn.Module:
    """The last layer with weights of its own, whose first dimension is the classes; the rest is the body."""
    from torch import nn

    return [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]


def check_size(net: nn.Module, arch: str, size: int) -> None:
    """Raise ZooError where `net` cannot take images of `size` px (some architectures know one size only)."""
    import torch

    was_training = net.training
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ZooError(
            f"{arch} cannot take images of {size} px ({reason}). Set `image.size` to what it was made for, mostly 224, "
            "or `train.arch` to another net."
        ) from None
    net.train(was_training)


def carry_over(net: nn.Module, state: Mapping[str, Tensor], old: Sequence[str], new: Sequence[str]) -> None:
    """Fill `net`, of classes `new`, from the `state` of the same architecture trained on classes `old`.

    Classes that both know keep their rows of the head; new ones start from the net's own values. Raises ZooError.
    """
    import torch

    head = head_of(net)
    names = {id(value): name for name, value in net.named_parameters()}
    known = [(old.index(name), place) for place, name in enumerate(new) if name in old]
    source, target = [torch.tensor([pair[side] for pair in known], dtype=torch.long) for side in (0, 1)]
    merged = dict(state)
    for parameter in head.parameters():
        rows = parameter.detach().clone()
        rows[target] = state[names[id(parameter)]][source]
        merged[names[id(parameter)]] = rows
    _fill(net, merged, "the model to start from")


def load_model(folder: Path) -> Normalised:
    """The trained model in `folder` (model.safetensors, model.json), in eval mode on the CPU; fp32.

    Takes uint8 or float images (N, 3, S, S) in 0..255; raises CardError or ZooError when the folder holds no model.
    """
    from components.model.nets import Normalised

    card = read_card(folder / "model.json")
    net = _bare(card.arch, len(card.classes))
    _fill(net, weights_in(folder / "model.safetensors"), f"the model in {folder}", whole=True)
    return Normalised(net, card.mean, card.std).eval()


def _bare(arch: str, classes: int) -> nn.Module:
    if arch == "resnet9":
        from components.model.nets import ResNet9

        return ResNet9(classes)
    known = architectures()
    if arch not in known:
        near = difflib.get_close_matches(arch, known, n=5, cutoff=0.4)
        raise ZooError(
            f"No architecture is called {arch!r}; near names are {', '.join(near) or 'none'}. `train.arch` takes "
            f"{', '.join(OWN)} or a classification model of torchvision, such as resnet18 or mobilenet_v3_large."
        )
    from torchvision import models

    net: nn.Module = models.get_model(arch, weights=None, num_classes=classes)
    return net


def _default_weights(arch: str) -> Mapping[str, Tensor]:
    from torchvision import models

    if arch in OWN:
        raise ZooError(f"{arch} has no pretrained weights; set `train.weights: none` or give a .safetensors file.")
    entry = models.get_model_weights(arch).DEFAULT
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ZooError(
            f"The weights of {arch} could not be downloaded from {entry.url} ({error}). Set `train.weights: none` to "
            "train from scratch, or to a .safetensors file that you have."
        ) from None
    return state


def weights_in(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ZooError(f"Weights {str(path)!r} are not none, default or a .safetensors file; no other kind is opened.")
    try:
        state: Mapping[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise ZooError(f"No weights at {path}; set `train.weights` to none, default or a file that exists.") from None
    except (SafetensorError, OSError) as error:
        raise ZooError(f"{path} is not a whole .safetensors file: {error}.") from None
    return state


def _fill(net: nn.Module, state: Mapping[str, Tensor], what: str, whole: bool = False) -> None:
    """Copy what agrees in name and shape; only the head may be left over, and nothing where `whole`."""
    own = net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    left = own.keys() - fitting.keys()
    head = {id(value) for value in head_of(net).parameters()}
    allowed = set() if whole else {name for name, value in net.named_parameters() if id(value) in head}
    wrong = sorted(left - allowed)
    if wrong:
        raise ZooError(
            f"The weights do not fit {what}: {len(wrong)} of {len(own)} tensors are missing or of another shape, the "
            f"first {wrong[0]}. Use weights of the same architecture, or `train.weights: none`."
        )
    net.load_state_dict({**own, **fitting})
