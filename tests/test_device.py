"""Reduced precision is used where the hardware gains by it, and answers come out as plain float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.model.device import fast_precision, outputs_of
from components.model.nets import Normalised
from components.model.zoo import build
from tests.training import IMAGE


def test_auto_takes_bf16_only_where_the_cpu_is_fast_at_it(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    for abilities, expected in (
        ({"avx2": True}, "fp32"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=abilities: found)
        assert fast_precision("auto", cpu) == expected
    assert fast_precision("fp32", cpu) == "fp32"


def test_logits_do_not_depend_on_the_batch_and_leave_the_net_as_it_was():
    model = Normalised(build("classifier", "resnet9", 3, "none"), IMAGE.mean, IMAGE.std).train()
    pixels = np.random.default_rng(1).integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)
    pixels.flags.writeable = False
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole, parts = outputs_of(model, pixels), outputs_of(model, pixels, batch=4)
    assert (whole.shape, whole.dtype) == ((10, 3), np.float32)
    assert np.allclose(whole, parts, atol=1e-5)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_bf16_answers_nearly_as_fp32_does():
    model = Normalised(build("classifier", "resnet9", 3, "none"), IMAGE.mean, IMAGE.std)
    pixels = np.random.default_rng(1).integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)
    assert np.allclose(outputs_of(model, pixels, "bf16"), outputs_of(model, pixels), atol=0.1)
