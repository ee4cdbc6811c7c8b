"""A sampler gives each class the share of an epoch that its name says, and wastes no image."""

from __future__ import annotations

from collections import Counter

import torch

from components.model.sampling import Sampler

SHOWN = [("common",)] * 60 + [("rare",)] * 7 + [("common", "rarest")] * 3 + [()] * 10
GROUPS = {"common": range(60), "rare": range(60, 67), "rarest": range(67, 70), "nothing": range(70, 80)}


def drawn(kind: str, seed: int = 1) -> list[int]:
    return Sampler(SHOWN, kind).rows(torch.Generator().manual_seed(seed)).tolist()


def by_group(rows: list[int]) -> dict[str, int]:
    return {name: sum(row in group for row in rows) for name, group in GROUPS.items()}


def test_shuffle_takes_each_image_once_in_another_order_each_epoch():
    assert sorted(drawn("shuffle")) == list(range(80))
    assert drawn("shuffle") != drawn("shuffle", 2)


def test_balanced_takes_as_many_images_as_there_are_and_of_each_class_the_same():
    assert by_group(drawn("balanced")) == dict.fromkeys(GROUPS, 20)


def test_oversample_brings_each_class_up_to_the_largest():
    assert by_group(drawn("oversample")) == dict.fromkeys(GROUPS, 60)


def test_undersample_takes_no_more_than_the_smallest_and_others_in_the_next_epoch():
    assert by_group(drawn("undersample")) == dict.fromkeys(GROUPS, 3)
    seen = {row for seed in range(300) for row in drawn("undersample", seed)}
    assert seen == set(range(80))


def test_images_of_a_class_come_equally_often():
    times = Counter(drawn("balanced"))
    assert {times[row] for row in GROUPS["rare"]} == {2, 3}
    assert {times[row] for row in GROUPS["common"]} <= {0, 1}


def test_the_length_is_known_before_an_epoch():
    for kind in ("shuffle", "balanced", "oversample", "undersample"):
        assert len(Sampler(SHOWN, kind)) == len(drawn(kind))


def test_classes_come_mixed():
    rows = drawn("oversample")
    assert len({next(name for name in GROUPS if row in GROUPS[name]) for row in rows[:12]}) > 2
