"""A new value in params.yaml changes its own line and nothing else, comments included."""

from __future__ import annotations

import pytest

from components.model.params_file import changed, diff
from components.params import load_params
from components.workspace import TEMPLATE

TEXT = (TEMPLATE / "params.yaml").read_text(encoding="utf-8")


def test_no_values_change_nothing():
    assert changed(TEXT, {}) == TEXT


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("train.lr", 0.00042, "  lr: 0.00042  "),
        ("train.optimizer", "sgd", "  optimizer: sgd  "),
        ("train.arch", "mobilenet_v3_small_with_a_long_name", "  arch: mobilenet_v3_small_with_a_long_name "),
        ("train.augment.flip", False, "    flip: false  "),
        ("train.augment.mixup", 0.2, "    mixup: 0.2  "),
        ("train.dropout", 0.5, "  dropout: 0.5  "),
    ],
)
def test_one_line_changes_and_keeps_its_comment(key: str, value: object, line: str):
    after = changed(TEXT, {key: value})
    lines = diff(TEXT, after)
    assert len(lines) == 5
    assert lines[4].startswith(f"+{line}")
    assert lines[3].partition("#")[2] == lines[4].partition("#")[2] != ""


def test_the_result_is_read_back_with_the_new_values(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(changed(TEXT, {"train.lr": 1e-5, "train.augment.erase": 0.25}), encoding="utf-8")
    train = load_params(path).train
    assert (train.lr, train.augment.erase) == (1e-5, 0.25)
