"""Manifest -> groups of near-duplicates: images that must never be parted between training and test.

A perceptual hash only proposes a pair (small and dark pictures collide easily); the comparison of thumbnails confirms
it. Two hashes that differ in at most b bits agree in at least one of b + 1 bands, so sorting by each band finds all
pairs without comparing all images. Time and memory are bounded: an image meets at most NEIGHBOURS others in a band,
which cuts off only where more images than that share one, and a group grows no larger than `max_group`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.params import SplitParams

NEIGHBOURS = 256
THUMBNAIL = 256  # pixels
UNSETTLED = 20_000  # new links, after which the links that add nothing are looked for

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True)
class Groups:
    """`names` has one name an image, in the manifest's order: the smallest image_id of its group."""

    names: list[str]
    cut: int  # images in near-duplicates so many that `max_group` parted them

    def grouped(self) -> NDArray[np.bool_]:
        """(N,): whether the image has a near-duplicate."""
        _, group, size = np.unique(self.names, return_inverse=True, return_counts=True)
        return np.asarray(size[group] > 1)


def groups(manifest: pa.Table, params: SplitParams) -> Groups:
    """Group the images of `manifest` (columns image_id, phash, thumbnail); its order of rows does not matter."""
    ids = np.array(manifest["image_id"].to_pylist(), dtype=str)
    order = np.argsort(ids)
    hashes = manifest["phash"].to_numpy()[order]
    thumbnails = np.frombuffer(b"".join(manifest["thumbnail"].to_pylist()), dtype=np.uint8).reshape(-1, THUMBNAIL)
    pairs, distances = _links(hashes, thumbnails[order], params)
    component = _components(pairs, len(ids))
    cut = _cut(component, pairs, distances, params.max_group)
    names = np.empty_like(ids)
    names[order] = ids[order][_firsts(component)]
    return Groups(names.tolist(), cut)


def _links(hashes: Hashes, thumbnails: Thumbnails, params: SplitParams) -> tuple[Indices, NDArray[np.float64]]:
    """Confirmed pairs (M, 2) and their distances (M,): enough to connect every group, not all that there are."""
    known = np.arange(len(hashes))
    links, distances = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    unsettled = 0
    for pairs in _candidates(hashes, params.near_duplicate_bits):
        new = pairs[known[pairs[:, 0]] != known[pairs[:, 1]]]
        distance = _distance(thumbnails[new[:, 0]], thumbnails[new[:, 1]])
        near = distance <= params.near_duplicate_distance
        links.append(new[near])
        distances.append(distance[near])
        unsettled += int(near.sum())
        if unsettled > UNSETTLED:
            known, unsettled = _components(np.concatenate(links), len(hashes)), 0
    return np.concatenate(links), np.concatenate(distances)


def _distance(one: Thumbnails, other: Thumbnails) -> NDArray[np.float64]:
    """Mean absolute difference, 0..1, row by row (in bytes: four times as fast as in floats)."""
    difference = np.maximum(one, other) - np.minimum(one, other)
    return np.asarray(difference.sum(axis=1, dtype=np.uint32) / (255 * THUMBNAIL))


def _candidates(hashes: Hashes, bits: int) -> Iterator[Indices]:
    """Pairs (M, 2) whose hashes differ in at most `bits` bits; a pair may come more than once."""
    for low, high in pairwise(64 * step // (bits + 1) for step in range(bits + 2)):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.lexsort((hashes, band))
        here = np.arange(len(order))
        for step in range(1, NEIGHBOURS):
            here = here[here + step < len(order)]
            here = here[band[order[here]] == band[order[here + step]]]
            if not len(here):
                break
            one, other = order[here], order[here + step]
            near = np.bitwise_count(hashes[one] ^ hashes[other]) <= bits
            yield np.stack([one[near], other[near]], axis=1)


def _components(pairs: Indices, count: int) -> Indices:
    """(count,): a number for each image, the same for images that `pairs` connect."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _cut(component: Indices, pairs: Indices, distances: NDArray[np.float64], largest: int) -> int:
    """Part, in place, components of more than `largest` images, the least alike first; return how many are in them."""
    large = np.bincount(component, minlength=1) > largest
    inside = np.flatnonzero(large[component])
    links = np.flatnonzero(large[component[pairs[:, 0]]])
    group = {image: [image] for image in inside.tolist()}
    for one, other in pairs[links[np.argsort(distances[links], kind="stable")]].tolist():
        a, b = group[one], group[other]
        if a is not b and len(a) + len(b) <= largest:
            a += b
            group.update(dict.fromkeys(b, a))
    for image, members in group.items():
        component[image] = len(component) + min(members)
    return len(inside)


def _firsts(component: Indices) -> Indices:
    """(N,): the first image of each image's component."""
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])
