"""Checkpoints are whole, undamaged and of this very training, or they are not used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.model.checkpoint import Checkpoints


def test_tensors_and_values_come_back_as_they_were(tmp_path: Path):
    tensors = {"a/b": torch.rand(2, 3), "step": torch.tensor(3.0), "count": torch.tensor([1, 2])}
    Checkpoints(tmp_path, "training").write(1, tensors, [{"val/loss": 0.1}])
    found, values = Checkpoints(tmp_path, "training").newest() or ({}, None)
    assert values == [{"val/loss": 0.1}]
    assert all(torch.equal(tensors[name], found[name]) for name in tensors)


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path):
    assert Checkpoints(tmp_path / "nowhere", "training").newest() is None


@pytest.mark.parametrize("damage", ["cut short", "flipped", "emptied"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str):
    saved = Checkpoints(tmp_path, "training")
    saved.write(1, {"a": torch.ones(3)}, [1])
    saved.write(2, {"a": torch.zeros(3)}, [1, 2])
    newest = max((tmp_path / "training").iterdir())
    whole = newest.read_bytes()
    newest.write_bytes({"cut short": whole[:-1], "flipped": whole[:-1] + b"\x01", "emptied": b""}[damage])
    tensors, values = saved.newest() or ({}, None)
    assert (tensors["a"].tolist(), values) == ([1, 1, 1], [1])


def test_the_newest_two_are_kept(tmp_path: Path):
    saved = Checkpoints(tmp_path, "training")
    for epoch in (1, 2, 3, 10):
        saved.write(epoch, {"a": torch.ones(3)}, epoch)
    assert sorted(path.name[:5] for path in (tmp_path / "training").iterdir()) == ["00003", "00010"]


def test_opening_one_training_forgets_the_others(tmp_path: Path):
    Checkpoints(tmp_path, "one").write(1, {"a": torch.ones(3)}, 1)
    assert Checkpoints(tmp_path, "other").newest() is None
    assert not (tmp_path / "one").exists()
