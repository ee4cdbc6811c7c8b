"""What people say that a picture shows, and the one text that it becomes in labels.parquet.

In: `Annotation`, all that a source says of one picture. Out: canonical texts, equal for equal contents, so that a label
can be compared, logged and sent as what it is; and the contents again. Which kind of text a task wants, and whether it
can make one of an annotation, is the task's to say (`components.tasks`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Shown = Callable[[str], tuple[str, ...]]  # the classes that a label shows: Task.shown
OVERHANG = 1.0  # px by which a box may leave its image: rounding of labelling tools; it is cut off
MOST_PIXELS = 2**28  # of a mask: a line of text can claim any size
BACKGROUND = "background"  # class of what lies outside of all objects, where a source outlines objects
IGNORED = frozenset({"ignore", "ignored", "unlabelled", "unlabeled", "void"})  # names of no class


class Box(NamedTuple):
    """Edges, in px of the upright picture unless said otherwise."""

    left: float
    top: float
    right: float
    bottom: float


class LabelError(ValueError):
    """A label is refused: `code` is one word for tables, `detail` says what was found and what was expected.

    `shows` are the classes that the refused annotation names, as far as they can be read.
    """

    def __init__(self, code: str, detail: str, shows: Iterable[str] = ()) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.shows = tuple(sorted(set(shows)))

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Thing:
    """One object in a picture."""

    label: str
    box: Box
    mask: str = ""  # run lengths (see `run_lengths`) over the whole picture; empty where only the box is known
    crowd: bool = False  # a group that was not told apart: neither a hit nor a miss


@dataclass(frozen=True, slots=True)
class Annotation:
    """All that a source says of one picture; None where it says nothing of the kind."""

    labels: tuple[str, ...] | None = None  # classes of the picture as a whole
    things: tuple[Thing, ...] | None = None  # objects; () is a picture of the background
    areas: Mapping[str, str] | None = None  # class -> run lengths; a pixel in none of them is not judged
    size: tuple[int, int] | None = None  # width and height, px, that run lengths are made for


def alone(label: str) -> tuple[str, ...]:
    """What a label shows that is the name of a class."""
    return (label,)


def classes_of(said: Annotation) -> tuple[str, ...]:
    """Every class that the annotation names, sorted."""
    return tuple(sorted({*(said.labels or ()), *(thing.label for thing in said.things or ()), *(said.areas or ())}))


def labels_text(labels: Iterable[str]) -> str:
    """A JSON list of the different labels, sorted."""
    return _json(sorted(set(labels)))


def labels_in(text: str) -> tuple[str, ...]:
    """What `labels_text` wrote; raise LabelError for any other text."""
    found = _parsed(text)
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise LabelError("bad_label", f'found {text[:80]!r}, expected a JSON list of labels such as ["car", "dog"]')
    return tuple(found)


def things_text(things: Iterable[Thing], size: tuple[int, int] | None = None) -> str:
    """A JSON list of objects, sorted, with edges to a hundredth of a px.

    Raises LabelError for a box with an edge that is no number, with no area or swapped corners, or, where the `size`
    (width, height) of the picture is known, more than OVERHANG px outside of it.
    """
    rows = [_row(checked_thing(thing, size)) for thing in things]
    return _json(sorted(rows, key=_json))


def checked_thing(thing: Thing, size: tuple[int, int] | None = None) -> Thing:
    """`thing` with its box to a hundredth of a px and its overhang cut off; raises LabelError as `things_text`."""
    return Thing(thing.label, _checked(thing, size), thing.mask, thing.crowd)


def things_in(text: str) -> tuple[Thing, ...]:
    """What `things_text` wrote; raise LabelError for any other text."""
    try:
        return tuple(
            Thing(str(row["label"]), Box(*map(float, row["box"])), row.get("mask", ""), row.get("crowd", False))
            for row in _parsed(text)
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        example = '[{"box": [12, 30, 96, 80], "label": "car"}]'
        raise LabelError("bad_label", f"found {text[:80]!r}, expected a JSON list of objects: {example}") from None


def areas_text(areas: Mapping[str, str], size: tuple[int, int]) -> str:
    """A JSON object of the run lengths of each class and the (width, height) that they are made for."""
    return _json({"areas": dict(areas), "size": list(size)})


def areas_in(text: str) -> tuple[dict[str, str], tuple[int, int]]:
    """What `areas_text` wrote: run lengths by class, and (width, height); raise LabelError for any other text."""
    try:
        found = _parsed(text)
        width, height = found["size"]
        return dict(found["areas"]), (int(width), int(height))
    except (KeyError, TypeError, ValueError):
        expected = 'a JSON object {"areas": {"road": "<run lengths>"}, "size": [width, height]}'
        raise LabelError("bad_label", f"found {text[:80]!r}, expected {expected}") from None


def run_lengths(mask: NDArray[np.bool_]) -> str:
    """A mask (height, width) as COCO's compressed run lengths (Lin et al. 2014, pycocotools)."""
    from pycocotools import mask as coco

    encoded: dict[str, bytes] = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return encoded["counts"].decode("ascii")


def mask_of(runs: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (height, width) that `run_lengths` wrote, of a picture of `size` (width, height).

    Raises LabelError for run lengths that do not add up to the picture: pycocotools answers those with random memory.
    """
    width, height = size
    lengths, pixels = _lengths(runs), width * height
    if pixels > MOST_PIXELS:
        raise LabelError("bad_mask", f"mask of {width} x {height} px; at most {MOST_PIXELS:,} pixels are drawn")
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > pixels or lengths.sum() != pixels:
        raise LabelError("bad_mask", f"run lengths do not add up to {width} x {height} = {pixels:,} px")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def is_ignored(name: str) -> bool:
    """Whether a class of this name stands for pixels that are not judged."""
    return name.startswith("-") or name.lower() in IGNORED


def one_label(said: Annotation) -> str:
    """The only label of the picture as a whole; raise LabelError for none or several."""
    if said.labels is None or len(said.labels) != 1:
        found = f"labels {', '.join(said.labels[:5])}" if said.labels else "no label of the whole image"
        raise LabelError("many_labels" if said.labels else "no_label", f"{found}; expected exactly one")
    return said.labels[0]


def _lengths(runs: str) -> NDArray[np.int64]:
    """COCO's text (six bits a character, five of them payload; from the fourth on differences) -> run lengths, px."""
    codes = np.frombuffer(runs.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0) + 1  # behind the last character of each number
    sizes = np.diff(ends, prepend=0)
    known = len(codes) and codes.min() >= 0 and codes.max() < 64 and ends.size and ends[-1] == len(codes)
    if not known or sizes.max() > 7:
        raise LabelError("bad_mask", f"found {runs[:40]!r}, expected COCO's compressed run lengths")
    place = np.arange(len(codes)) - np.repeat(ends - sizes, sizes)
    values = np.add.reduceat((codes & 31) << (5 * place), ends - sizes)
    values -= (codes[ends - 1] & 16) << (5 * sizes - 4)  # the sign
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values


def _checked(thing: Thing, size: tuple[int, int] | None) -> Box:
    left, top, right, bottom = (round(float(edge), 2) for edge in thing.box)
    what = f"box {[left, top, right, bottom]} of {thing.label!r}"
    if not all(map(math.isfinite, thing.box)):
        raise LabelError("bad_box", f"{what} has an edge that is no number")
    if right <= left or bottom <= top:
        wrong = "has swapped corners" if right < left or bottom < top else "has no area"
        raise LabelError("bad_box", f"{what} {wrong}; expected left < right and top < bottom")
    if size is None:
        return Box(left, top, right, bottom)
    width, height = size
    if min(left, top) < -OVERHANG or right > width + OVERHANG or bottom > height + OVERHANG:
        raise LabelError("bad_box", f"{what} lies outside its image of {width} x {height} px")
    inside = Box(max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if inside.right <= inside.left or inside.bottom <= inside.top:
        raise LabelError("bad_box", f"{what} lies outside its image of {width} x {height} px")
    return inside


def _row(thing: Thing) -> dict[str, Any]:
    row: dict[str, Any] = {"box": list(thing.box), "label": thing.label}
    return row | ({"mask": thing.mask} if thing.mask else {}) | ({"crowd": True} if thing.crowd else {})


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise LabelError("bad_label", f"found {text[:80]!r}, expected JSON") from None
