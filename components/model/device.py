"""Where and at what precision a net runs: the one place that asks what the hardware can do.

In: a `precision:` of params.yaml, nets, uint8 images. Out: a device, an autocast context, logits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_precision(wanted: str, device: torch.device) -> str:
    """`wanted`, or for "auto" bf16 where `device` computes it faster than fp32, else fp32.

    A CPU without AMX or AVX-512 BF16 computes bf16 correctly but far slower than fp32.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    abilities = torch.cpu.get_capabilities()
    return "bf16" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which convolutions and matrix products run in `precision` ("fp32" or "bf16")."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def outputs_of(
    net: nn.Module, pixels: NDArray[np.uint8], precision: str = "fp32", batch: int = 256
) -> NDArray[np.float32]:
    """float32 (N, ...): what `net` (a `nets.Normalised`) answers to `pixels` (N, 3, S, S), in eval mode."""
    import torch

    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    answers = []
    with torch.inference_mode(), autocast(precision, device):
        for start in range(0, len(pixels), batch):
            images = torch.from_numpy(np.array(pixels[start : start + batch])).to(device)
            answers.append(net(images).float().cpu())
    net.train(was_training)
    return np.asarray(torch.cat(answers).numpy(), dtype=np.float32)
