"""A table of path, label and, where the source has its own, split.

In: a .csv or .tsv file; paths are relative to it. Out: a `Found` for each row. Every cell is text: the label `NA` or
`01` is a label like any other. A table with mistakes is refused whole, with file, line and field of each. Files that
are missing are left to ingest, which puts them aside.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.sources import SPLITS, Found, SourceError, clean_label, printable

SHOWN = 10  # mistakes listed in one message


@dataclass(frozen=True)
class TableSource:
    table: Path

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        rows = self._rows()
        header = self._header(next(rows, (0, [])))
        found: list[Found] = []
        mistakes: list[str] = []
        for line, cells in rows:
            wrong = _mistake(header, cells)
            if wrong:
                mistakes.append(f"  line {line}, {wrong}")
            else:
                found.append(self._found(line, dict(zip(header, cells, strict=True))))
        self._refuse(mistakes, empty=not found)
        yield from found

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of every line that is not blank."""
        text = self._text()
        first = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise SourceError(f"{self.table} line {reader.line_num}: {error}.") from None

    def _text(self) -> str:
        try:
            data = self.table.read_bytes()
        except OSError as error:
            raise SourceError(f"{self.table} cannot be read: {error.strerror}.") from None
        encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise SourceError(f"{self.table} line {line} is not UTF-8; save the table as UTF-8.") from None

    def _header(self, first: tuple[int, list[str]]) -> list[str]:
        header = [cell.lower() for cell in first[1]]
        missing = [name for name in ("path", "label") if name not in header]
        if missing:
            raise SourceError(
                f"{self.table} line {max(first[0], 1)}: no column {' and no column '.join(missing)}; "
                f"found {', '.join(header) or 'an empty file'}; expected path,label or path,label,split."
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(f"{self.table} line {first[0]}: column {', '.join(twice)} is there twice.")
        return header

    def _found(self, line: int, row: dict[str, str]) -> Found:
        return Found(
            path=self.table.parent / row["path"],
            name=printable(row["path"]),
            label=clean_label(row["label"]),
            split=SPLITS.get(row.get("split", "").lower()),
            said_by=f"{self.table.name}:{line}",
        )

    def _refuse(self, mistakes: list[str], empty: bool) -> None:
        if mistakes:
            more = f"\n  and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
            lines = "\n".join(mistakes[:SHOWN])
            raise SourceError(f"{self.table} has {len(mistakes)} mistake(s); nothing was added:\n{lines}{more}")
        if empty:
            raise SourceError(f"{self.table} has a header and no rows; expected one row for each image.")


def _mistake(header: list[str], cells: list[str]) -> str:
    """What is wrong with a row, or an empty text."""
    if len(cells) != len(header):
        return f"fields: found {len(cells)}, expected {len(header)} ({', '.join(header)})"
    row = dict(zip(header, cells, strict=True))
    for name in ("path", "label"):
        if not row[name]:
            return f"field {name}: empty"
    if "\0" in row["path"]:
        return "field path: has a NUL character"
    if row.get("split", "").lower() not in {"", *SPLITS}:
        return f"field split: found {row['split']!r}, expected {', '.join(SPLITS)} or nothing"
    return ""
