"""Folds hold out each image once, keep near-duplicates together and classes even; mean and spread are told."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.model.folds import folds_of
from tests.conftest import ReportInMemory
from tests.training import shapes, train_in


def shown_by(images) -> list[tuple[str]]:
    return [(label,) for label in images.labels]


def test_each_image_is_held_out_once_and_each_class_evenly():
    images = shapes(11, 4)
    folds = folds_of(images, shown_by(images), 5, seed=1)
    assert sorted(row for fold in folds for row in fold) == list(range(60))
    for fold in folds:
        assert set(Counter(images.labels[row] for row in fold).values()) == {3}
    assert folds != folds_of(images, shown_by(images), 5, seed=2)


def test_near_duplicates_stay_together():
    images = shapes(11, 4)
    images = replace(images, groups=[f"{label}-{place % 7}" for place, label in enumerate(images.labels)])
    for fold in folds_of(images, shown_by(images), 3, seed=1):
        names = {images.groups[row] for row in fold}
        assert fold == {row for row, name in enumerate(images.groups) if name in names}


def test_the_only_image_of_a_class_is_never_held_out():
    images = shapes(5, 1)
    images = replace(images, labels=["owl", *images.labels[1:]])
    assert all(0 not in fold for fold in folds_of(images, shown_by(images), 3, seed=1))


def test_made_images_are_never_held_out():
    images = shapes(11, 4)
    images = replace(images, kinds=["synthetic" if row % 3 == 0 else "human" for row in range(60)])
    held = {row for fold in folds_of(images, shown_by(images), 3, seed=1) for row in fold}
    assert held == {row for row in range(60) if row % 3}


def test_mean_and_spread_are_those_of_the_folds(tmp_path: Path, report: ReportInMemory):
    metrics = train_in(tmp_path, shapes(8, 4), report, folds=3, epochs=2)
    found = [row["val/top1"] for row in report.tables["folds"]]
    assert len(found) == 3
    assert metrics["folds/top1_mean"] == pytest.approx(np.mean(found))
    assert metrics["folds/top1_spread"] == pytest.approx(np.std(found, ddof=1))
    assert len(report.values["val/top1"]) == 2  # of the training itself alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "model"]


CHILD = """
import os, signal, sys
from pathlib import Path
from components.report import Silent
from tests.training import shapes, train_in

class Killed(Silent):
    def progress(self, done, total, what):
        if what.startswith("fold 2") and done == total:
            os.kill(os.getpid(), signal.SIGKILL)

train_in(Path(sys.argv[1]), shapes(8, 4), Killed(), folds=3, epochs=2)
"""


@pytest.mark.slow
def test_kill_9_in_the_second_fold_costs_an_epoch_at_most(tmp_path: Path, report: ReportInMemory):
    whole = train_in(tmp_path / "whole", shapes(8, 4), folds=3, epochs=2)
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "cut")], check=False)
    assert child.returncode == -signal.SIGKILL
    assert train_in(tmp_path / "cut", shapes(8, 4), report, folds=3, epochs=2) == whole
    resumed = [line for line in report.lines if "going on after epoch" in line]
    assert [line.split(":")[0] for line in resumed] == ["fold 1 of 3", "fold 2 of 3"]
