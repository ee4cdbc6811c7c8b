"""A table with a row for each image, label or object: path, label, split, and more where the source has more.

In: a .csv, .tsv or .parquet file; paths are relative to it. Out: a `Found` for each row, or for each path where a task
takes several labels. Beside path and label there may be the edges of a box (left, top, right, bottom or xmin, ymin,
xmax, ymax, in px), crowd and mask; or, in place of the label, `annotation`: a VOC .xml, YOLO .txt or mask .png of the
image. A label such as `cat|dog` is two where the task takes several. Every cell is text: `NA` or `01` is a label like
any other. A table with mistakes is refused whole, with file, line and field of each; a box that cannot be is an
objection to its image alone. Files that are missing are left to ingest, which puts them aside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from components.data.annotations import Annotation, LabelError, one_label
from components.data.sources import SPLITS, Found, Read, SourceError, clean_label, heard, printable, takes
from components.data.sources.listing import known_size
from components.data.sources.table_objects import EDGES, OTHER_NAMES, annotated_in, objects_in
from components.data.sources.table_rows import lines_of

SHOWN = 10  # mistakes listed in one message
SEPARATOR = "|"  # of labels in one cell
Row = Mapping[str, str]
Numbered = tuple[int, Row]  # line and cells


@dataclass(frozen=True)
class TableSource:
    table: Path
    read: Read = one_label

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        rows = lines_of(self.table)
        header = self._header(next(rows, (0, [])))
        found: list[Numbered] = []
        mistakes: list[str] = []
        for line, cells in rows:
            wrong = self._mistake(header, cells)
            if wrong:
                mistakes.append(f"  line {line}, {wrong}")
            else:
                found.append((line, dict(zip(header, cells, strict=True))))
        self._refuse(mistakes, empty=not found)
        for group in self._grouped(found, by_path=self._several or set(EDGES) <= set(header)):
            yield self._found(group)

    @cached_property
    def _several(self) -> bool:
        """Whether the task takes several labels of one image."""
        return takes(self.read, Annotation(labels=("one", "other")))

    @cached_property
    def _nothing(self) -> bool:
        """Whether the task takes images that show none of its classes."""
        return takes(self.read, Annotation(labels=(), things=(), size=(1, 1)))

    def _header(self, first: tuple[int, list[str]]) -> list[str]:
        header = [OTHER_NAMES.get(cell.lower(), cell.lower()) for cell in first[1]]
        wanted = ("path",) if "annotation" in header else ("path", "label")
        missing = [name for name in wanted if name not in header]
        if missing:
            raise SourceError(
                f"{self.table} line {max(first[0], 1)}: no column {' and no column '.join(missing)}; "
                f"found {', '.join(header) or 'an empty file'}; expected path,label or path,label,split."
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(f"{self.table} line {first[0]}: column {', '.join(twice)} is there twice.")
        return header

    def _mistake(self, header: Sequence[str], cells: Sequence[str]) -> str:
        """What is wrong with a row, or an empty text."""
        if len(cells) != len(header):
            return f"fields: found {len(cells)}, expected {len(header)} ({', '.join(header)})"
        row = dict(zip(header, cells, strict=True))
        if not row["path"]:
            return "field path: empty"
        if "\0" in row["path"]:
            return "field path: has a NUL character"
        if row.get("split", "").lower() not in {"", *SPLITS}:
            return f"field split: found {row['split']!r}, expected {', '.join(SPLITS)} or nothing"
        said = row.get("annotation") or row.get("label")
        edges = any(row.get(edge) for edge in EDGES)
        if not said and (edges or not self._nothing):
            return f"field {'annotation' if 'annotation' in row else 'label'}: empty"
        return ""

    def _grouped(self, rows: Sequence[Numbered], by_path: bool) -> Iterator[Sequence[Numbered]]:
        """The rows of each image, in the order of the first of them."""
        if not by_path:
            yield from ([row] for row in rows)
            return
        groups: defaultdict[str, list[Numbered]] = defaultdict(list)
        for line, row in rows:
            groups[row["path"]].append((line, row))
        yield from groups.values()

    def _found(self, rows: Sequence[Numbered]) -> Found:
        line, row = rows[0]
        path = self.table.parent / row["path"]
        split = SPLITS.get(row.get("split", "").lower())
        said: Annotation | LabelError
        try:
            _refuse_two_splits(rows)
            said = self._said(rows, path)
        except LabelError as error:
            said = error
        return heard(path, row["path"], said, self.read, f"{self.table.name}:{line}", split)

    def _said(self, rows: Sequence[Numbered], path: Path) -> Annotation:
        if rows[0][1].get("annotation"):
            return annotated_in([row["annotation"] for _, row in rows], self.table.parent, path)
        labels = {label for _, row in rows for label in self._labels(row.get("label", ""))}
        if "annotation" in rows[0][1] and not labels:
            return Annotation(labels=(), things=(), size=known_size(path))
        things, size = objects_in(rows, path) if all(edge in rows[0][1] for edge in EDGES) else (None, None)
        return Annotation(tuple(sorted(labels)), things, size=size)

    def _labels(self, cell: str) -> list[str]:
        parts = cell.split(SEPARATOR) if self._several else [cell]
        return [label for label in map(clean_label, parts) if label]

    def _refuse(self, mistakes: Sequence[str], empty: bool) -> None:
        if mistakes:
            more = f"\n  and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
            lines = "\n".join(mistakes[:SHOWN])
            raise SourceError(f"{self.table} has {len(mistakes)} mistake(s); nothing was added:\n{lines}{more}")
        if empty:
            raise SourceError(f"{self.table} has a header and no rows; expected one row for each image.")


def _refuse_two_splits(rows: Sequence[Numbered]) -> None:
    said = {row.get("split", "").lower(): line for line, row in rows}
    if len(said) > 1:
        found = " and ".join(f"{split or 'nothing'} (line {line})" for split, line in said.items())
        raise LabelError("bad_split", f"field split: found {printable(found)}, expected one for each path")
