"""Files and folders in, a table out: every file has its row, and the numbers are the service's."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.launcher.local import LocalLauncher
from components.params import Params, load_params
from components.registry.bundle import open_bundle
from components.report import Silent
from components.serving.predictor import Predictor, load_predictor
from components.serving.score import CHUNK, Row, ScoreError, predict_paths, write_rows
from components.workspace import Workspace, create_workspace
from tests.bundles import promote, tiny_bundle
from tests.conftest import ReportInMemory
from tests.drawing import draw, encode
from tests.test_app import client_of

INLINE = LocalLauncher(1)
ROWS = [
    Row("a b/ü.png", "light", 0.9, 3, None),
    Row('q"uote,\nline.png', None, None, 3, "not_image: starts with b'<html>'"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = create_workspace(tmp_path_factory.mktemp("score") / "workspace")
    promote(workspace, 3, tiny_bundle(workspace).digest)
    return workspace


@pytest.fixture(scope="module")
def params(served: Workspace) -> Params:
    return load_params(served.params)


@pytest.fixture(scope="module")
def predictor(served: Workspace) -> Predictor:
    [digest] = [path.name for path in served.models.iterdir()]
    return load_predictor(open_bundle(served.models, digest), version=3)


def grey(path: Path, brightness: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 20), brightness).save(path)
    return path


def test_every_file_of_every_path_has_its_row_in_order(tmp_path: Path, predictor: Predictor, params: Params) -> None:
    folder = tmp_path / "folder"
    expected = [
        grey(tmp_path / "first.png", 255),
        grey(folder / "B.png", 0),
        grey(folder / "a.png", 255),
        grey(folder / "sub" / "c d.png", 0),
    ]
    rows = list(predict_paths([tmp_path / "first.png", folder], predictor, params, INLINE, Silent()))
    assert [row.path for row in rows] == [str(path) for path in expected]
    assert [row.label for row in rows] == ["light", "dark", "light", "dark"]
    assert {(row.model_version, row.error) for row in rows} == {(3, None)}


def test_a_bad_file_is_a_row_with_its_error(tmp_path: Path, predictor: Predictor, params: Params) -> None:
    grey(tmp_path / "1.png", 255)
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.txt").write_text("hello")
    grey(tmp_path / "4.png", 0)
    (tmp_path / "5.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "6.png")
    good, empty, text, other = predict_paths([tmp_path], predictor, params, INLINE, Silent())
    assert (good.label, other.label) == ("light", "dark")
    assert (empty.label, empty.confidence, empty.error) == (None, None, "empty: the file has no bytes")
    assert text.error
    assert text.error.startswith("not_image")


def test_hidden_files_and_links_to_folders_are_passed_over(
    tmp_path: Path, predictor: Predictor, params: Params
) -> None:
    grey(tmp_path / ".hidden.png", 0)
    grey(tmp_path / ".ipynb_checkpoints" / "a.png", 0)
    (tmp_path / "loop").symlink_to(tmp_path)
    shown = grey(tmp_path / "shown.png", 0)
    assert [row.path for row in predict_paths([tmp_path], predictor, params, INLINE, Silent())] == [str(shown)]


def test_a_name_that_is_not_utf8_is_escaped(tmp_path: Path, predictor: Predictor, params: Params) -> None:
    grey(tmp_path / "ok.png", 0).rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    [row] = predict_paths([tmp_path], predictor, params, INLINE, Silent())
    assert row.path.endswith(r"caf\xe9.png")
    assert write_rows([row], tmp_path / "out.parquet") == 1


def test_a_path_that_does_not_exist_or_an_empty_folder_is_said_before_any_work(
    tmp_path: Path, predictor: Predictor, params: Params
) -> None:
    with pytest.raises(ScoreError, match=r"No such file or folder: .*typo\.png"):
        predict_paths([grey(tmp_path / "a.png", 0), tmp_path / "typo.png"], predictor, params, INLINE, Silent())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoreError, match="No files in"):
        predict_paths([tmp_path / "empty"], predictor, params, INLINE, Silent())


def test_many_files_in_many_processes_give_the_same_rows(
    tmp_path: Path, predictor: Predictor, params: Params, report: ReportInMemory
) -> None:
    for i in range(CHUNK + 10):
        grey(tmp_path / f"{i:03d}.png", i * 3)
    (tmp_path / "050.png").write_bytes(b"broken")
    here = list(predict_paths([tmp_path], predictor, params, INLINE, report))
    assert here == list(predict_paths([tmp_path], predictor, params, LocalLauncher(2), Silent()))
    assert [row.error is None for row in here] == [i != 50 for i in range(CHUNK + 10)]


def test_a_file_gets_the_numbers_that_the_service_gives_it(
    tmp_path: Path, served: Workspace, predictor: Predictor, params: Params
) -> None:
    pictures = [
        encode(draw("circle", 1, size=57)),
        encode(draw("cross", 2, size=90), "JPEG", quality=60),
        encode(draw("square", 3).convert("LA"), "PNG"),
        encode(draw("triangle", 4).convert("CMYK"), "TIFF"),
    ]
    for i, data in enumerate(pictures):
        (tmp_path / str(i)).write_bytes(data)
    rows = list(predict_paths([tmp_path], predictor, params, INLINE, Silent()))
    with client_of(served) as client:
        answer = client.post("/predict", files=[("files", (str(i), data)) for i, data in enumerate(pictures)]).json()
    assert answer["model_version"] == 3
    for row, item in zip(rows, answer["predictions"], strict=True):
        assert (row.label, row.confidence) == (item["label"], pytest.approx(item["confidence"], abs=1e-6))


def test_a_csv_reads_back(tmp_path: Path) -> None:
    assert write_rows(ROWS, tmp_path / "out.csv") == 2
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    plain = {
        "path": "a b/ü.png",
        "label": "light",
        "confidence": "0.9",
        "model_version": "3",
        "error": "",
        "answer": "",
    }
    assert first == plain | {"error": "", "answer": ""}
    assert (second["path"], second["label"], second["confidence"]) == (ROWS[1].path, "", "")


def test_json_and_parquet_read_back_as_they_were(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "out.json")
    write_rows(ROWS, tmp_path / "out.PARQUET")
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [Row(**row) for row in found] == ROWS
    assert [Row(**row) for row in pq.read_table(tmp_path / "out.PARQUET").to_pylist()] == ROWS


def test_a_table_of_errors_alone_keeps_its_columns(tmp_path: Path) -> None:
    write_rows(ROWS[1:], tmp_path / "out.parquet")
    assert str(pq.read_table(tmp_path / "out.parquet").schema.field("confidence").type) == "double"


def test_an_unknown_suffix_is_refused_before_any_row_is_made(tmp_path: Path) -> None:
    rows = (pytest.fail("a row was made") for _ in range(1))
    with pytest.raises(ScoreError, match=r"\.csv, \.parquet, \.json"):
        write_rows(rows, tmp_path / "out.xlsx")


def test_a_failure_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("old")

    def fail() -> object:
        yield ROWS[0]
        raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        write_rows(fail(), output)  # type: ignore[arg-type]
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
