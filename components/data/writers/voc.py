"""Pascal VOC (Everingham et al. 2010): JPEGImages/, Annotations/*.xml and ImageSets/.

In: the contents. Out: an XML for each image with its objects, a crowd as a difficult one, a label as one without a box;
for areas SegmentationClass/*.png and classes.txt in their place. VOC has no masks of single objects.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from components.data.annotations import Thing
from components.data.sources.voc import EDGES
from components.data.writers import Contents, Item, number, write_image, write_lines
from components.data.writers.mask_files import write_classes, write_mask


def write_voc(folder: Path, contents: Contents) -> None:
    if contents.drawn:
        write_classes(folder, contents)
    places = contents.places
    for item in contents.items:
        write_image(folder / "JPEGImages", item)
        if contents.drawn:
            write_mask(folder / "SegmentationClass" / f"{item.stem}.png", item, places)
        else:
            _write_xml(folder / "Annotations" / f"{item.stem}.xml", item)
    sets = folder / "ImageSets" / ("Segmentation" if contents.drawn else "Main")
    for split, items in contents.by_split.items():
        if split:
            write_lines(sets / f"{split}.txt", [item.stem for item in items])


def _write_xml(path: Path, item: Item) -> None:
    root = Element("annotation")
    _texts(root, folder="JPEGImages", filename=item.name)
    _texts(SubElement(root, "size"), width=item.size[0], height=item.size[1], depth=3)
    for label in item.said.labels or ():
        _texts(SubElement(root, "object"), name=label)
    for thing in item.said.things or ():
        _add_object(root, thing)
    indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree(root).write(path, encoding="utf-8")


def _add_object(root: Element, thing: Thing) -> None:
    found = SubElement(root, "object")
    _texts(found, name=thing.label, difficult=int(thing.crowd))
    _texts(SubElement(found, "bndbox"), **dict(zip(EDGES, map(number, thing.box), strict=True)))


def _texts(parent: Element, **children: object) -> None:
    for tag, text in children.items():
        SubElement(parent, tag).text = str(text)
