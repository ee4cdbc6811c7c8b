"""The range test proposes a rate that trains, below where training fails, and draws its curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.model.lr_find import find_rate, proposal
from tests.conftest import ReportInMemory
from tests.training import IMAGE, PARAMS, TASK, run, shapes


def test_the_proposal_is_a_tenth_of_where_the_loss_is_lowest():
    rates = np.geomspace(1e-6, 1, 61)
    losses = 2 - np.exp(-((np.log10(rates) + 2) ** 2))
    assert proposal(rates, losses).proposed == pytest.approx(1e-3, rel=0.1)
    losses[-5:] = np.nan
    assert proposal(rates, losses).proposed == pytest.approx(1e-3, rel=0.1)


def test_one_lucky_batch_does_not_decide():
    rates = np.geomspace(1e-6, 1, 61)
    losses = 2 - np.exp(-((np.log10(rates) + 2) ** 2))
    losses[5] = 1.2
    assert proposal(rates, losses).proposed == pytest.approx(1e-3, rel=0.5)


def test_the_proposed_rate_learns_where_a_hundredth_does_not(tmp_path: Path, report: ReportInMemory):
    torch.set_num_threads(1)
    images = shapes(40, 10)
    params = replace(PARAMS, optimizer="sgd", lr=1e-9)
    found = find_rate(images, tmp_path, params, IMAGE, TASK, report)
    assert 1e-4 < found.proposed < 1
    assert report.pictures["lr_find"].startswith(b"\x89PNG")
    assert len(found.rates) == len(found.losses) <= 120
    best = []
    for rate in (found.proposed, found.proposed / 100):
        told = ReportInMemory()
        run(tmp_path / str(rate), images, told, optimizer="sgd", lr=rate, epochs=4)
        best.append(min(told.values["val/loss"]))
    assert best[0] < best[1] - 0.1


def test_the_same_call_proposes_the_same(tmp_path: Path, report: ReportInMemory):
    one, other = (find_rate(shapes(6, 2), tmp_path, PARAMS, IMAGE, TASK, report) for _ in range(2))
    assert one.proposed == other.proposed
    assert np.array_equal(one.losses, other.losses)
