"""Architectures by name and weights by name or file -> a net; a folder with a trained model -> the same net again.

In: `train.arch` and `train.weights` of params.yaml, .safetensors files. Out: `nn.Module`s with a head for the given
number of classes. Weights are only ever read from safetensors, but for torchvision's own downloads, which are opened
as plain tensors (`weights_only`) and checked against the hash in their name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.model.card import Triple, read_card
from components.tasks import Head, task_named

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchvision.models import WeightsEnum

    from components.model.nets import Normalised


class ZooError(ValueError):
    """No such architecture or weights, or they do not fit; the message says what would."""


class Family(Protocol):
    """Nets of one kind: a module of this package."""

    def names(self) -> list[str]:
        """Every name that `train.arch` may have."""
        ...

    def bare(self, arch: str, classes: int) -> nn.Module:
        """One of `names()` with random weights; raise ZooError for any other name."""
        ...

    def default_weights(self, arch: str) -> Mapping[str, Tensor]:
        """Pretrained weights, downloaded; raise ZooError where there are none or they cannot be had."""
        ...

    def made_for(self, arch: str) -> tuple[int, Triple, Triple] | None:
        """Side (px), mean and std of the images that its default weights were made with; None where unknown."""
        ...

    def class_layers(self, net: nn.Module) -> list[nn.Module]:
        """The last layers, whose first dimension follows the classes; the rest is the body."""
        ...


def family(head: Head) -> Family:
    """The module of the nets of one kind: classifiers, detectors or segmenters."""
    from components.model import classifiers, detectors, segmenters

    families: dict[Head, Family] = {"classifier": classifiers, "detector": detectors, "segmenter": segmenters}
    return families[head]


def build(head: Head, arch: str, classes: int, weights: str) -> nn.Module:
    """A net for `classes` classes; `weights` is "none" (random), "default" (downloaded) or a .safetensors file.

    Given weights enter wherever name and shape agree, which leaves out a head of other classes. Raises ZooError.
    """
    net = _bare(head, arch, classes)
    if weights != "none":
        state = family(head).default_weights(arch) if weights == "default" else weights_in(Path(weights))
        _fill(net, state, f"{arch} with weights {weights}", family(head).class_layers(net))
    return net


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


def carry_over(head: Head, net: nn.Module, state: Mapping[str, Tensor], old: Sequence[str], new: Sequence[str]) -> None:
    """Fill `net`, of classes `new`, from the `state` of the same architecture trained on classes `old`.

    Classes that both know keep their rows of the head; new ones start from the net's own values. Raises ZooError.
    """
    import torch

    layers = family(head).class_layers(net)
    names = {id(value): name for name, value in net.named_parameters()}
    known = [(old.index(name), place) for place, name in enumerate(new) if name in old]
    source, target = [torch.tensor([pair[side] for pair in known], dtype=torch.long) for side in (0, 1)]
    merged = dict(state)
    for parameter in (each for layer in layers for each in layer.parameters()):
        name, rows = names[id(parameter)], parameter.detach().clone()
        by_class = (-1, len(new), *rows.shape[1:])  # a detector may answer each class several times a place
        rows.view(by_class)[:, target] = state[name].view(-1, len(old), *rows.shape[1:])[:, source]
        merged[name] = rows
    _fill(net, merged, "the model to start from", layers)


def load_model(folder: Path) -> Normalised:
    """The trained model in `folder` (model.safetensors, model.json), in eval mode on the CPU; fp32.

    Takes uint8 or float images (N, 3, S, S) in 0..255; raises CardError or ZooError when the folder holds no model.
    """
    from components.model.nets import Normalised

    card = read_card(folder / "model.json")
    net = _bare(task_named(card.task).head, card.arch, len(card.classes))
    _fill(net, weights_in(folder / "model.safetensors"), f"the model in {folder}", [])
    return Normalised(net, card.mean, card.std).eval()


def _bare(head: Head, arch: str, classes: int) -> nn.Module:
    return family(head).bare(arch, classes)


def unknown(head: Head, arch: str, known: Sequence[str]) -> ZooError:
    """The refusal of a name that is none of `known`."""
    near = difflib.get_close_matches(arch, known, n=5, cutoff=0.4) or known[:5]
    return ZooError(f"No {head} is called {arch!r}; set `train.arch` to another name, such as {', '.join(near)}.")


def downloaded(arch: str, entry: WeightsEnum) -> Mapping[str, Tensor]:
    """The tensors of one of torchvision's weights; raise ZooError when they cannot be had."""
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


def _fill(net: nn.Module, state: Mapping[str, Tensor], what: str, optional: Sequence[nn.Module]) -> None:
    """Copy what agrees in name and shape; only parameters of the `optional` layers may be left over."""
    own = net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    left = own.keys() - fitting.keys()
    spared = {id(value) for layer in optional for value in layer.parameters()}
    allowed = {name for name, value in net.named_parameters() if id(value) in spared}
    wrong = sorted(left - allowed)
    if wrong:
        raise ZooError(
            f"The weights do not fit {what}: {len(wrong)} of {len(own)} tensors are missing or of another shape, the "
            f"first {wrong[0]}. Use weights of the same architecture, or `train.weights: none`."
        )
    net.load_state_dict({**own, **fitting})
