"""Batch scoring: files and folders -> rows with label and confidence, by the engine and the decoder of the service.

In: paths, the champion's predictor. Out: one row a file, in order, also for a file that is no image; and writers of
CSV, Parquet and JSON. Files are decoded in parallel, a chunk at a time, and predicted in this process. Nothing is
written to the prediction log: drift is watched on the service alone.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.data.images import BadImage, fit_square, to_rgb8
from components.launcher import Launcher
from components.params import IngestParams, Params
from components.report import Report
from components.serving.drawn import draw_file
from components.serving.predictor import Predictor
from components.tasks import Prediction
from components.workspace import replace_file

CHUNK = 64  # files decoded by one task


class ScoreError(ValueError):
    """There is nothing to score, or nowhere to write it."""


@dataclass(frozen=True)
class Row:
    path: str
    label: str | None  # null where there is an error
    confidence: float | None
    model_version: int
    error: str | None
    answer: str | None = None  # all of it as a label text, where it is more than `label`


@dataclass(frozen=True)
class Square:
    """A decoded file, and the width and height, px, that it had."""

    pixels: NDArray[np.uint8]  # (3, size, size)
    size: tuple[int, int]


def predict_paths(
    paths: Sequence[Path],
    predictor: Predictor,
    params: Params,
    launcher: Launcher,
    report: Report,
    draw: Path | None = None,
) -> Iterator[Row]:
    """One row for each file of `paths` and, in order of name, for each file below their folders.

    With `draw`, each answer is also drawn over its image, as a PNG in that folder.
    Raises ScoreError, before any work, for a path that does not exist or when there is no file at all.
    """
    files = list_files(paths)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    decode = partial(decode_files, ingest=params.ingest, size=predictor.card.size, fit=predictor.card.fit)
    rows = _rows(chunks, launcher.map_shards(decode, chunks), predictor, params.serve.max_batch, report)
    return (_drawn(*each, predictor.card.fit, params.ingest, draw) if draw else each[1] for each in rows)


def _drawn(
    file: Path,
    row: Row,
    prediction: Prediction | None,
    fit: Literal["stretch", "crop"],
    ingest: IngestParams,
    folder: Path,
) -> Row:
    if prediction:
        draw_file(file, prediction, fit, ingest, folder)
    return row


def list_files(paths: Sequence[Path]) -> list[Path]:
    """All regular files of `paths`; hidden ones and links to folders are passed over below a folder."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise ScoreError(f"No such file or folder: {', '.join(missing)}.")
    files = [file for path in paths for file in (_below(path) if path.is_dir() else [path])]
    if not files:
        raise ScoreError(f"No files in {', '.join(map(str, paths))}.")
    return files


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file())  # a pipe or a device would block


def decode_files(
    files: Sequence[Path], ingest: IngestParams, size: int, fit: Literal["stretch", "crop"]
) -> list[Square | str]:
    """Each file as the model's square, or what is wrong with it."""
    return [_decode(file, ingest, size, fit) for file in files]


def _decode(file: Path, ingest: IngestParams, size: int, fit: Literal["stretch", "crop"]) -> Square | str:
    try:
        rgb = to_rgb8(file.read_bytes(), ingest).rgb
    except BadImage as bad:
        return str(bad)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return Square(fit_square(rgb, size, fit), (rgb.shape[1], rgb.shape[0]))


def _rows(
    chunks: Sequence[Sequence[Path]],
    decoded: Iterator[list[Square | str]],
    predictor: Predictor,
    max_batch: int,
    report: Report,
) -> Iterator[tuple[Path, Row, Prediction | None]]:
    done, total = 0, sum(map(len, chunks))
    for files, images in zip(chunks, decoded, strict=True):
        squares = [image.pixels for image in images if not isinstance(image, str)]
        answers = (
            answer
            for start in range(0, len(squares), max_batch)
            for answer in predictor.predict(squares[start : start + max_batch])
        )
        for file, image in zip(files, images, strict=True):
            path = os.fsencode(file).decode("utf-8", "backslashreplace")
            if isinstance(image, str):
                yield file, Row(path, None, None, predictor.version, image), None
            else:
                answer = next(answers)
                yield file, _row(path, answer, image.size, predictor), answer
        done += len(files)
        report.progress(done, total, "predict")


def _row(path: str, answer: Prediction, size: tuple[int, int], predictor: Predictor) -> Row:
    said = predictor.task.answered(answer, size, predictor.card.fit)
    return Row(path, answer.label, answer.confidence, predictor.version, None, said if said != answer.label else None)


def write_rows(rows: Iterable[Row], output: Path) -> int:
    """Write `rows` as the suffix of `output` says, whole or not at all; return how many.

    Raises ScoreError, before any row is made, for a suffix that is not .csv, .parquet or .json.
    """
    write = WRITERS.get(output.suffix.lower())
    if write is None:
        raise ScoreError(f"{output.name}: expected a name that ends in {', '.join(WRITERS)}.")
    with replace_file(output) as temporary:
        table = [asdict(row) for row in rows]
        write(table, temporary)
    return len(table)


def _write_csv(table: Sequence[Mapping[str, object]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(table)


def _write_json(table: Sequence[Mapping[str, object]], path: Path) -> None:
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_parquet(table: Sequence[Mapping[str, object]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = {name: pa.string() for name in ("path", "label", "error", "answer")}
    columns = text | {"confidence": pa.float64(), "model_version": pa.int64()}
    schema = pa.schema([(field.name, columns[field.name]) for field in fields(Row)])
    pq.write_table(pa.Table.from_pylist(list(table), schema=schema), path)


WRITERS: Mapping[str, Callable[[Sequence[Mapping[str, object]], Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
}
