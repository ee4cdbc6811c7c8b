"""JSON files of annotations: which kind one is, and its content with errors that name the place.

In: a path. Out: the parsed content, checked for the keys that its kind must have. What the content means is for
`coco` and `label_studio`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from components.data.annotations import LabelError
from components.data.sources import SourceError, printable

T = TypeVar("T")
HEAD = 1_000_000  # bytes that are looked at to tell the kind of a file
COCO_KEYS = ("images", "annotations", "categories")


def kind_of(path: Path) -> str:
    """ "coco", "labelstudio" or an empty text, by the beginning of the file."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    except OSError:
        return ""
    if head.startswith("{"):
        keys = {key for key in COCO_KEYS if re.search(rf'"{key}"\s*:\s*\[', head)}
        return "coco" if len(keys) > 1 or (keys and len(head) > HEAD // 2) else ""
    is_tasks = head.startswith("[") and re.search(r'"(annotations|completions)"\s*:', head)
    return "labelstudio" if is_tasks and re.search(r'"data"\s*:', head) else ""


def content_of(path: Path) -> Any:
    """Raises SourceError with line and column of what is no JSON."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise SourceError(f"{printable(str(path))} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{printable(str(path))} is not JSON: {error}. Nothing was added.") from None


def field(row: Mapping[str, Any], name: str, as_type: Callable[[Any], T], expected: str) -> T:
    """`row[name]` as a number or text; raise LabelError naming the field, what was found and what was expected."""
    found = row.get(name)
    try:
        if found is None or isinstance(found, bool):
            raise ValueError
        return as_type(found)
    except (ValueError, TypeError, OverflowError):
        raise LabelError("bad_label", f"field {name}: found {json.dumps(found)[:60]}, expected {expected}") from None


def four_numbers(found: Any) -> tuple[float, float, float, float]:
    """Raises ValueError for anything else; NaN is a number here, `annotations` refuses it."""
    if not isinstance(found, list) or any(isinstance(each, bool | str) for each in found):
        raise ValueError
    first, second, third, fourth = map(float, found)
    return first, second, third, fourth
