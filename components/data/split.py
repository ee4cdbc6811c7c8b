"""Manifest and labels -> splits: each labelled image to train, val or test, for ever.

In: the tables, and the splits of last time. Out: splits.parquet, written only if the splits suite passes. An image
keeps its split, and a source's own splits win; a split that a source does not bring (CIFAR-10 has no val) is taken from
its training images. Near-duplicates stay together: where they are in several splits already, the most protected one
(test, then val) keeps them and the others are "left_out". New images keep every class's proportions. Synthetic images
only ever train.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.data.annotations import Shown, alone
from components.data.duplicates import groups
from components.data.shares import Counts, NewGroup, share_out
from components.data.tables import LABELS, MANIFEST, SPLITS, read_table, table_so_far, write_table
from components.params import Fractions, SplitParams
from components.report import Report, Row

USED = ("train", "val", "test")
PROTECTION = {"left_out": 0, "train": 1, "val": 2, "test": 3}
Allowed = Mapping[str | None, Sequence[str]]  # by what its source says: the splits that an image may get


class SplitError(ValueError):
    """Some classes cannot be in every split; the message names them and says what to do."""


@dataclass
class Member:
    """One image of a group; `split` and `reason` are empty while undecided."""

    image_id: str
    classes: tuple[str, ...]  # that it shows; none where a conflict took the label from an image that has a split
    origin: str
    source_split: str | None
    group: str
    split: str = ""
    reason: str = ""

    def decide(self, split: str, reason: str) -> None:
        self.split, self.reason = split, reason


def split(
    manifest: Path, labels: Path, splits: Path, params: SplitParams, report: Report, shown: Shown = alone
) -> dict[str, int | float]:
    """Bring `splits` up to date; return images by split.

    Raises SplitError for classes that are too small and ValidationFailed by the splits suite; nothing is written then.
    """
    from components.data.validate import check_splits

    images, labelled = read_table(manifest, MANIFEST), read_table(labels, LABELS)
    labelled = labelled.filter(pc.is_in(labelled["image_id"], images["image_id"]))  # an ingest may have been cut off
    table, cut = assign(images, labelled, table_so_far(splits, SPLITS), params, shown)
    by_class = _by_class(table, labelled, shown)
    _refuse_small_classes(by_class)
    check_splits(table, labelled, shown)
    write_table(table, splits)
    counts = Counter(table["split"].to_pylist())
    if counts["left_out"]:
        report.line(f"{counts['left_out']:,} images left training: they nearly duplicate a val or test image")
    if cut:
        report.line(f"{cut:,} images have more near-duplicates than split.max_group ({params.max_group}): look at them")
    report.table("splits", by_class)
    return {name: counts[name] for name in (*USED, "left_out")}


def assign(
    manifest: pa.Table, labels: pa.Table, before: pa.Table, params: SplitParams, shown: Shown = alone
) -> tuple[pa.Table, int]:
    """The new splits, sorted by image_id, and how many images are in groups that `max_group` cut.

    `before` are the splits of last time. An image without a label gets no split, but keeps one that it has.
    """
    made = pc.equal(manifest["origin"], "synthetic")
    members, cut = _members(manifest.filter(pc.invert(made)), labels, before, params, shown)
    allowed = _allowed(members)
    for member in members:
        if not member.split and len(allowed[member.source_split]) == 1:
            member.decide(allowed[member.source_split][0], "source")
    by_group: defaultdict[str, list[Member]] = defaultdict(list)
    for member in members:
        by_group[member.group].append(member)
    for group in by_group.values():
        _keep_together(group, allowed)
    new = [group for group in by_group.values() if not group[0].split]
    _share_out_kind("source", new, members, _of(params.fractions, allowed["train"]), params.seed)
    _share_out_kind("assigned", new, members, _of(params.fractions, USED), params.seed)
    _share_out_kind("feedback", new, members, _of(params.feedback_fractions, USED), params.seed)
    members = sorted([*members, *_made(manifest, made, labels, members, params, shown)], key=lambda each: each.image_id)
    return pa.table({name: [getattr(each, name) for each in members] for name in SPLITS.names}, schema=SPLITS), cut


def _made(
    manifest: pa.Table, made: pa.Array, labels: pa.Table, members: Sequence[Member], params: SplitParams, shown: Shown
) -> list[Member]:
    """Synthetic images: to train, or out of use next to a val or test image. They neither join nor part real ones."""
    label = dict(zip(labels["image_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
    held = pa.array([each.image_id for each in members if each.split in ("val", "test")], pa.string())
    labelled = pc.and_(made, pc.is_in(manifest["image_id"], labels["image_id"]))
    rows = manifest.filter(pc.or_(labelled, pc.is_in(manifest["image_id"], held)))
    found = groups(rows, replace(params, max_group=max(rows.num_rows, 1))).names
    near = {name for name, kept in zip(found, pc.is_in(rows["image_id"], held).to_pylist(), strict=True) if kept}
    told = zip(rows["image_id"].to_pylist(), rows["origin"].to_pylist(), found, strict=True)
    decided = {True: ("left_out", "leak"), False: ("train", "synthetic")}
    return [
        Member(name, shown(label[name]), origin, None, name, *decided[group in near])
        for name, origin, group in told
        if origin == "synthetic"
    ]


def _members(
    manifest: pa.Table, labels: pa.Table, before: pa.Table, params: SplitParams, shown: Shown
) -> tuple[list[Member], int]:
    label = dict(zip(labels["image_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
    past = {row["image_id"]: (row["split"], row["reason"]) for row in before.to_pylist()}
    known = [name in label or name in past for name in manifest["image_id"].to_pylist()]
    rows = manifest.filter(pa.array(known, pa.bool_())).sort_by("image_id")
    found = groups(rows, params)
    told = zip(*(rows[name].to_pylist() for name in ("image_id", "origin", "source_split")), found.names, strict=True)
    members = [
        Member(
            name, shown(label[name]) if name in label else (), origin, source_split, group, *past.get(name, ("", ""))
        )
        for name, origin, source_split, group in told
    ]
    return members, found.cut


def _allowed(members: Sequence[Member]) -> Allowed:
    said = {member.source_split for member in members}
    absent = [name for name in ("val", "test") if name not in said]
    return {None: USED, "train": ("train", *absent), "val": ("val",), "test": ("test",)}


def _keep_together(group: Sequence[Member], allowed: Allowed) -> None:
    """In a group that has a split already, the most protected one stays; who may not follow it is left out."""
    decided = [member.split for member in group if member.split]
    if not decided:
        return
    kept = max(decided, key=PROTECTION.__getitem__)
    for member in group:
        if not member.split and kept in allowed[member.source_split]:
            member.decide(kept, "group")
        elif member.split != kept:
            member.decide("left_out", "leak")


def _share_out_kind(
    kind: str, new: Sequence[Sequence[Member]], members: Sequence[Member], fractions: Mapping[str, float], seed: int
) -> None:
    """Decide those of the `new` groups that are of this kind; the fractions hold for all images of the kind."""
    waiting = {group[0].group: group for group in new if _kind(group) == kind}
    sizes = Counter(name for member in members for name in member.classes)
    have = _count((member, [_rarest([member], sizes)]) for member in members if _kind([member]) == kind)
    everywhere = _count((member, member.classes) for member in members)
    lots = [NewGroup(name, _rarest(group, sizes), len(group)) for name, group in waiting.items()]
    absent = {lot.label: [name for name in USED if not everywhere[lot.label][name]] for lot in lots}
    for name, chosen in share_out(lots, fractions, have, absent, seed).items():
        for member in waiting[name]:
            member.decide(chosen, "feedback" if kind == "feedback" else "assigned")


def _kind(group: Sequence[Member]) -> str:
    """Which fractions hold for it: "source" may only go where a source's own training images may."""
    if any(member.source_split for member in group):
        return "source"
    return "feedback" if any(member.origin == "feedback" for member in group) else "assigned"


def _rarest(group: Sequence[Member], sizes: Counts) -> str:
    """The class to share a group out by: the rarest that it shows (iterative stratification, Sechidis et al. 2011).

    "" where nothing is shown.
    """
    found = Counter(name for member in group for name in member.classes)
    return min(found, key=lambda name: (sizes[name], -found[name], name), default="")


def _of(fractions: Fractions, names: Sequence[str]) -> dict[str, float]:
    """Those of `names` that get a share at all, adding up to 1."""
    shares = {name: getattr(fractions, name) for name in names if getattr(fractions, name)}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def _count(members: Iterable[tuple[Member, Iterable[str]]]) -> defaultdict[str, Counts]:
    """Images by the class that is given with each, and by split."""
    found: defaultdict[str, Counts] = defaultdict(Counter)
    for member, classes in members:
        for name in classes if member.split else ():
            found[name][member.split] += 1
    return found


def _by_class(table: pa.Table, labels: pa.Table, shown: Shown) -> list[Row]:
    joined = labels.select(["image_id", "label"]).join(table.select(["image_id", "split"]), "image_id")
    pairs = zip(joined["label"].to_pylist(), joined["split"].to_pylist(), strict=True)
    counts = Counter((name, split) for label, split in pairs for name in shown(label))
    return [
        {"class": name, **{split: counts[name, split] for split in (*USED, "left_out")}}
        for name in sorted({name for name, _ in counts})
    ]


def _refuse_small_classes(by_class: Sequence[Row]) -> None:
    lines = [
        f"  {row['class']!r} is in no {' and no '.join(gaps)} (images: {', '.join(f'{n} {row[n]}' for n in USED)})"
        for row in by_class
        if (gaps := [name for name in USED if not row[name]])
    ]
    if lines:
        raise SplitError(
            f"{len(lines)} class(es) are too small to be in train, val and test:\n" + "\n".join(lines) + "\n"
            "Add different pictures of them (near-duplicates count as one; three at least), or take the class out, "
            "then run the same command again."
        )
