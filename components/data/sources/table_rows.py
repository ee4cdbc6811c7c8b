"""Tables as spreadsheets and programs write them -> lines of text cells.

In: a .csv, .tsv or .parquet file. Out: the number of each line and its cells, the header first; a SourceError names
file and line of what cannot be read. Every cell is text: `NA` and `01` stay what they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from components.data.sources import SourceError

TABLES = frozenset({".csv", ".tsv", ".parquet"})
Line = tuple[int, list[str]]


def lines_of(table: Path) -> Iterator[Line]:
    """(line, cells) of every line that is not blank; rows of Parquet count from 2, as if a header stood before."""
    return _of_parquet(table) if table.suffix.lower() == ".parquet" else _of_text(table)


def header_of(table: Path) -> list[str]:
    """The names of the columns in lower case; empty where the file is no table that can be read."""
    try:
        return [cell.lower() for cell in next(lines_of(table), (0, []))[1]]
    except SourceError:
        return []


def _of_text(table: Path) -> Iterator[Line]:
    text = _text(table)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise SourceError(f"{table} line {reader.line_num}: {error}.") from None


def _text(table: Path) -> str:
    try:
        data = table.read_bytes()
    except OSError as error:
        raise SourceError(f"{table} cannot be read: {error.strerror}.") from None
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{table} line {line} is not UTF-8; save the table as UTF-8.") from None


def _of_parquet(table: Path) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(table)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{table} cannot be read: {error}.") from None
    yield 1, list(found.column_names)
    columns = [column.to_pylist() for column in found.columns]
    for line, cells in enumerate(zip(*columns, strict=True), 2):
        yield line, [_cell(cell) for cell in cells]


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value))
    return "" if value is None else str(value).strip()
