"""Share out groups of images over train, val and test: class by class, in proportion, something in each.

In: new groups, and how many images of each class every split has. Out: a split for each group. The order in which
groups are served is drawn from a seed and their names, so it does not depend on the order they come in. What a class is
owed by rounding is passed on to the next: ten classes with one new image each do not send all ten to training.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Counts = Counter[str]  # images by split


@dataclass(frozen=True)
class NewGroup:
    name: str
    label: str
    size: int  # images


def share_out(
    groups: Sequence[NewGroup],
    fractions: Mapping[str, float],
    have: Mapping[str, Counts],
    absent: Mapping[str, Sequence[str]],
    seed: int,
) -> dict[str, str]:
    """The split of each of `groups`, by name.

    `have` counts, by class, the images that `fractions` already apply to; `absent` names, by class, the splits that
    have no image of it yet: each gets a group first, if there are enough.
    """
    by_label: defaultdict[str, list[NewGroup]] = defaultdict(list)
    for group in groups:
        by_label[group.label].append(group)
    owed = dict.fromkeys(fractions, 0.0)
    found: dict[str, str] = {}
    for label in sorted(by_label):
        waiting = sorted(by_label[label], key=lambda group: (-group.size, _draw(group.name, seed)))
        so_far = have.get(label, Counter())
        total = sum(so_far[split] for split in fractions) + sum(group.size for group in waiting)
        wanting = {split: share * total + owed[split] - so_far[split] for split, share in fractions.items()}
        found |= _share_out_class(waiting, wanting, [split for split in absent.get(label, ()) if split in fractions])
        owed = {split: min(max(images, -1.0), 1.0) for split, images in wanting.items()}
    return found


def _share_out_class(waiting: list[NewGroup], wanting: dict[str, float], absent: Sequence[str]) -> dict[str, str]:
    """The split of each group, largest first; `wanting`, images that each split should still get, is counted down."""
    found: dict[str, str] = {}

    def put(group: NewGroup, split: str) -> None:
        found[group.name] = split
        wanting[split] -= group.size

    for split in absent if len(absent) <= len(waiting) else ():
        put(waiting.pop(0 if split == "train" else -1), split)
    for group in waiting:
        put(group, max(wanting, key=wanting.__getitem__))
    return found


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
