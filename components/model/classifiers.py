"""Nets that judge an image as a whole: two of our own, and the classification models of torchvision and timm by name.

In: the name of an architecture; `timm/NAME`, or NAME alone where torchvision has none of that name. Out: `nn.Module`s
that answer (N, C) logits, their pretrained weights, what images these were made for, and which layers know the classes.
One of the families that `components.model.zoo` builds from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from components.model.card import Triple

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = ("lenet5", "resnet9")
TIMM = "timm/"
# Answer with several outputs while they train, unless told not to; their weights are of images in -1..1.
AUXILIARY = ("googlenet", "inception_v3")
HALF: Triple = (0.5, 0.5, 0.5)


def names() -> list[str]:
    """Every name; those of timm, over a thousand, with `timm/` before them."""
    from timm import list_models

    return sorted([*OWN, *_torchvision(), *(TIMM + name for name in list_models())])


def bare(arch: str, classes: int) -> nn.Module:
    """The net with random weights and `classes` outputs; raise ZooError for a name that there is not."""
    from torchvision import models

    from components.model.zoo import unknown

    if arch in OWN:
        from components.model.nets import LeNet5, ResNet9

        return ResNet9(classes) if arch == "resnet9" else LeNet5(classes)
    if arch in _torchvision():
        more = {"aux_logits": False, "init_weights": True} if arch in AUXILIARY else {}
        net: nn.Module = models.get_model(arch, weights=None, num_classes=classes, **more)
        return net
    name = _in_timm(arch)
    if not name:
        raise unknown("classifier", arch, names())
    import timm

    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    return made


def default_weights(arch: str) -> Mapping[str, Tensor]:
    """Pretrained weights, downloaded; raise ZooError where there are none or they cannot be had."""
    from torchvision import models

    from components.model.zoo import ZooError, downloaded

    if arch in OWN:
        raise ZooError(f"{arch} has no pretrained weights; set `train.weights: none` or give a .safetensors file.")
    if arch in _torchvision():
        return downloaded(arch, models.get_model_weights(arch).DEFAULT)
    return _from_timm(_in_timm(arch))


def made_for(arch: str) -> tuple[int, Triple, Triple] | None:
    """Side in px, and mean and deviation of RGB in 0..1, that the pretrained weights expect; None without any."""
    from torchvision import models

    if arch in OWN:
        return None
    if arch in _torchvision():
        expected = models.get_model_weights(arch).DEFAULT.transforms()
        mean, std = (HALF, HALF) if arch in AUXILIARY else (_triple(expected.mean), _triple(expected.std))
        return expected.crop_size[0], mean, std
    import timm

    found = timm.get_pretrained_cfg(_in_timm(arch))
    return (found.input_size[-1], _triple(found.mean), _triple(found.std)) if found and found.has_weights else None


def class_layers(net: nn.Module) -> list[nn.Module]:
    """The last layer with weights of its own, whose first dimension is the classes; the rest is the body."""
    from torch import nn

    layers: list[nn.Module] = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    ask: Callable[[], nn.Module | Sequence[nn.Module]] = getattr(net, "get_classifier", lambda: layers[-1])  # timm's
    head = ask()
    return [head] if isinstance(head, nn.Module) else list(head)


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _torchvision() -> list[str]:
    from torchvision import models

    found: list[str] = models.list_models(module=models)
    return found


def _in_timm(arch: str) -> str:
    """What timm calls `arch`, or an empty string."""
    from timm import is_model

    name = arch.removeprefix(TIMM)
    return name if is_model(name) else ""


def _from_timm(name: str) -> Mapping[str, Tensor]:
    import timm

    from components.model.zoo import ZooError

    try:
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise ZooError(
            f"The weights of {name} could not be downloaded ({next(iter(str(error).splitlines()), '')}). Set "
            "`train.weights: none` to train from scratch, or to a .safetensors file that you have."
        ) from None
    return state
