"""Files that give numbers of classes their names: data.yaml, classes.txt, classes.csv.

In: a folder. Out: names by number, and the file that says so; SourceError where it contradicts itself. Without such a
file a class is called by its number.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.data.sources import SourceError, clean_label, printable

TABLES = ("classes.txt", "obj.names", "labels.txt", "classes.csv")
YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


@dataclass(frozen=True)
class ClassNames:
    """`path` is None where no file names the classes."""

    path: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    def name(self, number: int) -> str | None:
        """None for a number that the file does not know."""
        return str(number) if self.path is None else self.names.get(number)

    def __str__(self) -> str:
        known = ", ".join(f"{number} {name}" for number, name in list(self.names.items())[:8])
        return f"{self.path.name}: {known}" if self.path else "any number"


def class_names(folder: Path) -> ClassNames:
    """Of the first of YAMLS and TABLES that is in `folder`."""
    for name in (*YAMLS, *TABLES):
        if (path := folder / name).is_file():
            return names_in(path)
    return ClassNames()


def names_in(path: Path) -> ClassNames:
    """Of one file; raise SourceError for one that names no classes, or two classes the same."""
    kinds: Mapping[str, Callable[[Path], Mapping[int, str]]] = {".yaml": _of_yaml, ".yml": _of_yaml, ".csv": _of_csv}
    try:
        names = kinds.get(path.suffix.lower(), _of_text)(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{printable(str(path))} cannot be read: {error}") from None
    doubles = sorted(
        {name for name in names.values() if list(names.values()).count(name) > 1} | ({""} & {*names.values()})
    )
    if doubles or not names:
        found = f"the name {doubles[0]!r} several times" if doubles and doubles[0] else "no names, or empty ones"
        raise SourceError(f"{printable(str(path))}: found {found}; expected one name for each number of a class.")
    return ClassNames(path, names)


def yaml_in(path: Path) -> Mapping[str, Any]:
    """The content of a YAML file; empty where it is no mapping. Raises SourceError for one that cannot be read."""
    try:
        found = YAML(typ="safe").load(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise SourceError(f"{printable(str(path))} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}


def _of_yaml(path: Path) -> Mapping[int, str]:
    found = yaml_in(path).get("names")
    if isinstance(found, list):
        return {number: clean_label(str(name)) for number, name in enumerate(found)}
    rows = found if isinstance(found, dict) else {}
    return {_number(path, key): clean_label(str(name)) for key, name in rows.items()}


def _of_text(path: Path) -> Mapping[int, str]:
    """A line a class: its number and name, or the name alone, whose number is its line counted from 0."""
    lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    pairs = [line.split(maxsplit=1) for line in lines]
    if all(len(pair) == 2 and pair[0].isdecimal() for pair in pairs):
        return _by_number(path, [(pair[0], pair[1]) for pair in pairs])
    return {number: clean_label(line) for number, line in enumerate(lines)}


def _of_csv(path: Path) -> Mapping[int, str]:
    """Columns id and name, or number and name without a header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    header = [cell.lower() for cell in rows[0]] if rows else []
    number, name = (header.index(each) if each in header else place for place, each in enumerate(("id", "name")))
    body = rows[1:] if {"id", "name"} & set(header) else rows
    if any(len(row) <= max(number, name) for row in body):
        raise SourceError(f"{printable(str(path))}: found a row with one field; expected id,name.")
    return _by_number(path, [(row[number], row[name]) for row in body])


def _by_number(path: Path, pairs: list[tuple[str, str]]) -> Mapping[int, str]:
    numbers = [_number(path, number) for number, _ in pairs]
    if len(set(numbers)) < len(numbers):
        double = next(number for number in numbers if numbers.count(number) > 1)
        raise SourceError(f"{printable(str(path))}: the number {double} is there twice; expected one name for each.")
    return {number: clean_label(name) for number, (_, name) in zip(numbers, pairs, strict=True)}


def _number(path: Path, text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise SourceError(f"{printable(str(path))}: found {text!r}, expected the number of a class.") from None
